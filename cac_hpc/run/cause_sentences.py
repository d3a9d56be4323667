"""The sentence of each cause, by its code.

In them {x} is a field of the cause, or a phrase that `causes` makes of its fields; [a {x}|b] is "a ..." where the cause
has x, else b.
"""

from __future__ import annotations

SENTENCES = {
    # errors
    "text": "[{detail}|the run's ledger says why]",  # of a ledger from before there were codes
    "error": "[{detail}|{kind} ({line}); the run's ledger says more]",  # ours, which says itself what to do
    "exception": "[{who}: ]{kind}[: {detail}] ({line})",
    "os_error": "[{who}: ]{kind}: {refused}[: '{file}'] ({line})",
    "disk_full": "[{who}: ]['{file}': ]{detail}",
    "loss_not_finite": "fold {task} epoch {epoch} step {step}: found a loss of {value}, "
    "[{words}, ]in studies [{studies}|that the run's ledger names]; {advice}",
    "validation_loss_not_finite": "fold {task} epoch {epoch}: the validation loss is {value}; {advice}",
    "gpu_out_of_memory": "out of memory on {device} ({used} MB were in use): {advice}",
    "predictions_invalid": "{words}",
    "partial_report": "PARTIAL report: no valid result of fold {words}",
    "contrast_run": "[{place}|split].contrast_to is ['{file}'|a folder], {words}",
    "contrast_dataset": "[{file}: ]found {words}, wanted that of the run in [{place}|split].contrast_to",
    # ranks
    "rank_not_started": "{who} has not started within {seconds} s",
    "rank_failed": "{who} failed[: {detail}]",
    "rank_died": "{who} died in {place}: its process[ {process}] is gone",
    "rank_silent": "{who} gave no sign of life for {seconds} s, last in {place}: its process[ {process}] is stopped, "
    "or its node is lost",
    "rank_hangs": "{who} hangs in {place}: nothing has moved for {seconds} s",
    "standstill": "no rank has moved for {seconds} s, all wait for each other in {place}: is the network up?",
    "rank_killed": "{who} died in [{place}|its start]: {ended}",
    "rank_lost": "a rank was lost",
    "replaced": "start {start} of this fold has been replaced by start {count}: nothing more is written",
    # processes and requests to stop
    "process_killed": "{program} on {node} {ended}",
    "process_ended": "{ended}; [{file}|its log] says more",
    "stopped": "stopped by {by}[ after epoch {epoch}, step {step} of the next]",
    "ended_by_signal": "ended by {signal}",
    "ended_by_scheduler": "cancelled, or over its time limit without a warning[; {after}]",
    "host_out_of_memory": "out of memory: {limit} were asked for, and the kernel ended {count} of the job's processes",
    "node_unfit": "{the_node} [{detail}|failed its check]",
    "no_network_card": "{the_node}: [{detail}|the network card that was asked for is not there]",
    "nodes_given_up": "{after}; after {count} other nodes this is given up",
    "node_kept": "{after}; [{detail}|not left out for another]",
    "not_started_elsewhere": "{after}; SLURM did not start it elsewhere[ ({detail})]",
    "not_started_again": "[{after}|saved], but SLURM did not start it again[ ({detail})]",
    "fruitless": "{count} starts in a row brought nothing new (cluster.attempts), the last ended so: "
    "[{after}|without a word]",
    # from queue and accounting
    "cancelled": "cancelled{by_user}[{on_node}][ after {elapsed}][; in the ledger: {after}]",
    "cancelled_waiting": "cancelled{by_user} before it started",
    "cancelled_silent": "cancelled{by_user}[{on_node}] after {elapsed}, before it said anything",
    "slurm_out_of_memory": "[{words} ]out of memory: asked for {limit}[, a process reached {peak}]"
    "[; in the ledger: {after}]",
    "time_limit": "over its time limit of [{elapsed}|its partition][{on_node}]",
    "node_failed": "{words}[{on_node}], and SLURM did not start it again",
    "no_log_folder": "the folder of its log is missing or cannot be written[{on_node}] (exit 0:53), so nothing was "
    "started",
    "saved": "asked to stop[{on_node}], has saved",
    "job_killed": "ended by {signal}[{on_node}][ (SLURM: {slurm})]",
    "job_failed": "ended with exit code [{value}|?][{on_node}]",
    "job_ended": "{words}[{on_node}][ (SLURM: {slurm})]",
    "dependency_failed": "taken out of the queue before it started: stage {words} did not end well",
    "unknown_end": "left the queue without a result; whether it failed or was cancelled: {words}",
    "job_completed": "{words}[ (SLURM: {slurm})]",
    "late_accounting": "left the queue without a result[; accounting, which may be late, says '{slurm}']",
    "process_gone": "its process ended without a result",
    "result_missing": "it ended well, but its result {file} is not there, or not whole",
    "in_queue": "{words}[: {detail}][ (SLURM: {slurm})][; before: {after}]",
    "not_heard": "SLURM has started it; nothing heard of the work yet",
    "silent": "no sign of life for {seconds} s, but SLURM still has it running on {node}",
    "out_of_sight": "runs on {node}, which cannot be seen from here",
    "queue_silent": "SLURM does not answer (squeue)",
    "unknown_state": "[SLURM calls its state '{slurm}'|SLURM calls its state by a word], which is not known here",
    # of folds without a result
    "never_started": "it never started",
    "interrupted": "it was stopped after {place}",
    "no_result": "it ended without a result",
}
