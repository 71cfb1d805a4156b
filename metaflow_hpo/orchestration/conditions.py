"""When an asset follows by itself, once the sensor `automation` is on.

The one thing to know: `AutomationCondition.eager()` waits until no dependency is missing, so that one task that cannot
be searched would hold up the training of all; the conditions here do not.
"""

from datetime import timedelta

import dagster as dg

from metaflow_hpo.settings import Settings

_IDLE = ~dg.AutomationCondition.in_progress()

_TRIED_IN_VAIN = dg.AutomationCondition.execution_failed() & ~dg.AutomationCondition.cron_tick_passed("0 2 * * *")

WHERE_MISSING = (dg.AutomationCondition.missing() & _IDLE & ~_TRIED_IN_VAIN).with_label("task_not_done_yet")
"""Every partition that was never materialised, all in one run. One that failed is tried again at night, 2:00 UTC."""

AFTER_COLLECTION = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & _IDLE
).with_label("collection_is_done")
"""Once for all partitions that were updated, when none is being worked on any more."""

AFTER_DEPENDENCY = dg.AutomationCondition.eager()
"""After its dependency, in the same run."""

EVERY_MORNING = dg.AutomationCondition.cron_tick_passed("0 6 * * *") & _IDLE
"""At 6:00 UTC: outcomes come from outside, so no asset tells that there are new ones."""

WHEN_DUE = dg.AutomationCondition.cron_tick_passed(Settings.load().import_cron) & _IDLE
"""When the setting `import_cron` says, daily at 1:00 UTC unless set: no asset tells that there are new runs."""

WATCHED_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=3), warn_window=timedelta(hours=36))
"""The UI marks the monitoring that was not updated for a day and a half, as happens when `automation` is off. Nothing
else goes stale by age: the surrogate is as good as its meta-data set, however old that is."""
