# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # False verdicts, and what a shorter limit would cost
# In a silent case nothing is broken, so any verdict is false.

# %%
"""False verdicts and the trade-off curve."""

from observer.analysis import detection, plots, tradeoff
from observer.analysis.picture import Shown
from observer.analysis.runs import default_roots, read_runs

roots = default_roots()
cases = read_runs(roots).of("cases", "detection")
Shown(plots.silence_plot(cases))

# %%
detection.silence(cases)

# %% [markdown]
# The trade-off: how many suspicions for nothing an hour each limit would have raised,
# by a recording of `observer record`, and how much sooner it would have been.

# %%
limits = tradeoff.frame_of(tradeoff.read_recordings(roots))
Shown(plots.tradeoff_plot(limits)) if len(limits) else tradeoff.NO_RECORDING

# %%
limits
