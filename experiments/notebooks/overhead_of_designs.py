# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Overhead: what a design costs, and whom
# CPU time, memory and wake-ups of the observer itself, then what the observed lose.

# %%
"""Cost of the observer and of the observed."""

from observer.analysis import cost, latency, overhead, plots
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
requests, cases = runs.of("requests", "detection"), runs.of("cases", "detection")
Shown(plots.latency_plot(requests, cases))

# %%
felt = latency.per_run(requests, cases)
felt.groupby(["phase", "design"]).median(numeric_only=True)

# %% [markdown]
# Throughput of the workloads beside each design, as a share of what it is without.

# %%
workload = runs.of("workload", "overhead")
Shown(plots.overhead_plot(workload)) if len(workload) else "no runs of overhead"

# %%
boots = overhead.per_boot(workload) if len(workload) else None
shape = "throughput_ratio", ["workload", "boot"], "design"
"no runs of overhead" if boots is None else boots.pivot_table(*shape)

# %% [markdown]
# What implicit heartbeats save against explicit ones (Phoenix: 13 % of CPU time).

# %%
cost.heartbeats(runs.of("cases", "services"), runs.of("cost", "services"))
