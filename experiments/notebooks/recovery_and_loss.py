# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Recovery of services, and what was lost meanwhile
# From the rows of `observer experiment run net-failure`; one dot is one round.

# %%
"""Recovery and lost packets."""

from observer.analysis import plots, recovery
from observer.analysis.picture import Shown
from observer.analysis.runs import default_roots

sittings, _ = recovery.read_sittings(default_roots())
rows = recovery.frame_of(sittings)
Shown(plots.recovery_plot(rows)) if len(rows) else "no rows of net-failure"

# %%
rows.groupby(["fault", "design"], sort=False)["recovery_ms"].describe()

# %% [markdown]
# Packets lost, of all that were sent both ways.

# %%
rows.groupby(["design", "fault"])[["lost_packets", "sent_packets"]].sum()
