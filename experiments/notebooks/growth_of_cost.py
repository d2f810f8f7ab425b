# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Scale: cost against the number of VMs
# Synthetic events through the real BPF programs and the real daemon.

# %%
"""Growth of cost with the number of VMs."""

from observer.analysis import growth, plots
from observer.analysis.picture import Shown
from observer.analysis.runs import default_roots, read_runs

scale = read_runs(default_roots()).of("scale", "scale")
Shown(plots.scale_plot(scale)) if len(scale) else "no runs of scale"

# %% [markdown]
# What one more quiet VM costs: least squares in each run, then the median of the runs.

# %%
growth.slopes(scale)
