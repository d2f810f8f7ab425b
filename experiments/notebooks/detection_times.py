# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Detection: who sees what, and how soon
# One dot is one run: a boot with one design, taken through all faults.
# OBSERVER_RUNS names other folders of runs than those of this checkout.

# %%
"""Detection by fault and design."""

from observer.analysis import detection, plots
from observer.analysis.order import MAIN
from observer.analysis.picture import Shown
from observer.analysis.runs import default_roots, read_runs

runs = read_runs(default_roots())
cases = runs.of("cases", "detection")
cases.groupby("design")["run_id"].nunique()

# %%
Shown(plots.detection_plot(cases))

# %% [markdown]
# Medians over the runs that saw a fault; nothing where none did.

# %%
found = detection.by_fault(cases)
found.pivot_table(index="design", columns="case", values="median_ms", sort=False)

# %% [markdown]
# How many times sooner ours is, with its interval, and how likely that is by chance.

# %%
detection.against(cases, MAIN)

# %% [markdown]
# The same for a service's failures.

# %%
services = runs.of("cases", "services")
Shown(plots.detection_plot(services)) if len(services) else "no runs of services"
