# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Overhead: what a design costs, and whom
# CPU time, memory and wake-ups of the observer itself, then what the observed lose.

# %%
"""Cost of the observer and of the observed."""

from observer.analysis import cost, loads, plots
from observer.analysis.picture import Shown
from observer.analysis.runs import default_roots, read_runs

runs = read_runs(default_roots())
costs = runs.of("cost", "detection")
Shown(plots.cost_plot(costs))

# %%
cost.per_run(costs).groupby(["phase", "design"], sort=False).median(numeric_only=True)

# %% [markdown]
# Latency of an open-loop client's requests, from when each was due.

# %%
requests = runs.of("requests", "detection")
Shown(plots.latency_plot(requests))

# %%
loads.latency_per_run(requests).groupby(["when", "design"]).median(numeric_only=True)

# %% [markdown]
# Throughput of the workloads beside each design, as a share of what it is without.

# %%
workload = runs.of("workload", "overhead")
Shown(plots.overhead_plot(workload)) if len(workload) else "no runs of overhead"

# %% [markdown]
# What implicit heartbeats save against explicit ones (Phoenix: 13 % of CPU time).

# %%
cost.heartbeats(runs.of("cases", "services"), runs.of("cost", "services"))
