"""Every reason and state that SLURM has, version by version, as its own library says them; by hand, what each means.

From libslurmfull.so of 22.05.8, 24.11.5 and 26.05.5: job_reason_string() or job_state_reason_string() of every number,
and job_state_string() of every state and flag. What the SLURM of this machine says is compared with it by a test.
"""

KINDS = {
    "waits": """
        AccountingPolicy AssocGrpBB AssocGrpBBMinutes AssocGrpBBRunMinutes AssocGrpBilling AssocGrpBillingMinutes
        AssocGrpBillingRunMinutes AssocGrpCPUMinutesLimit AssocGrpCPURunMinutesLimit AssocGrpCpuLimit
        AssocGrpEnergy AssocGrpEnergyMinutes AssocGrpEnergyRunMinutes AssocGrpGRES AssocGrpGRESMinutes
        AssocGrpGRESRunMinutes AssocGrpJobsLimit AssocGrpLicense AssocGrpLicenseMinutes AssocGrpLicenseRunMinutes
        AssocGrpMemLimit AssocGrpMemMinutes AssocGrpMemRunMinutes AssocGrpNodeLimit AssocGrpNodeMinutes
        AssocGrpNodeRunMinutes AssocGrpSubmitJobsLimit AssocGrpUnknown AssocGrpUnknownMinutes
        AssocGrpUnknownRunMinutes AssocGrpWallLimit AssocMaxJobsLimit AssocMaxSubmitJobLimit AssociationJobLimit
        AssociationResourceLimit AssociationTimeLimit BeginTime BlockFreeAction BlockMaxError BurstBufferResources
        BurstBufferStageIn Cleaning Constraints Dependency FedJobLock FrontEndDown InvaildReason InvalidReason
        JobArrayTaskLimit Licenses MaxBBPerAccount MaxBBRunMinsPerAccount MaxBBRunMinsPerUser MaxBillingPerAccount
        MaxBillingRunMinsPerAccount MaxBillingRunMinsPerUser MaxCpuPerAccount MaxCpuRunMinsPerAccount
        MaxCpuRunMinsPerUser MaxEnergyPerAccount MaxEnergyRunMinsPerAccount MaxEnergyRunMinsPerUser
        MaxGRESPerAccount MaxGRESRunMinsPerAccount MaxGRESRunMinsPerUser MaxJobsPerAccount MaxLicensePerAccount
        MaxLicenseRunMinsPerAccount MaxLicenseRunMinsPerUser MaxMemoryPerAccount MaxMemoryRunMinsPerAccount
        MaxMemoryRunMinsPerUser MaxNodePerAccount MaxNodeRunMinsPerAccount MaxNodeRunMinsPerUser MaxPoweredUpNodes
        MaxSubmitJobsPerAccount MaxUnknownPerAccount MaxUnknownRunMinsPerAccount MaxUnknownRunMinsPerUser
        MpiPortsBusy NodeDown None NvidiaImexChannels PartitionDown PartitionInactive PowerNotAvail PowerReserved
        Priority Prolog QOSGrpBB QOSGrpBBMinutes QOSGrpBBRunMinutes QOSGrpBilling QOSGrpBillingMinutes
        QOSGrpBillingRunMinutes QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit QOSGrpCpuLimit QOSGrpEnergy
        QOSGrpEnergyMinutes QOSGrpEnergyRunMinutes QOSGrpGRES QOSGrpGRESMinutes QOSGrpGRESRunMinutes
        QOSGrpJobsLimit QOSGrpLicense QOSGrpLicenseMinutes QOSGrpLicenseRunMinutes QOSGrpMemLimit
        QOSGrpMemoryMinutes QOSGrpMemoryRunMinutes QOSGrpNodeLimit QOSGrpNodeMinutes QOSGrpNodeRunMinutes
        QOSGrpSubmitJobsLimit QOSGrpUnknown QOSGrpUnknownMinutes QOSGrpUnknownRunMinutes QOSGrpWallLimit
        QOSJobLimit QOSMaxBBPerUser QOSMaxBillingPerUser QOSMaxCpuPerUserLimit QOSMaxEnergyPerUser
        QOSMaxGRESPerUser QOSMaxJobsPerUserLimit QOSMaxLicensePerUser QOSMaxMemoryPerUser QOSMaxNodePerUserLimit
        QOSMaxSubmitJobPerUserLimit QOSMaxUnknownPerUser QOSResourceLimit QOSTimeLimit QOSUsageThreshold
        ReqNodeNotAvail Reservation Resources
    """,
    "held": """
        BurstBufferOperation JobHeldAdmin JobHeldUser JobHoldMaxRequeue ReservationDeleted
    """,
    "never starts": """
        AccountNotAllowed AssocMaxBBMinutesPerJob AssocMaxBBPerJob AssocMaxBBPerNode AssocMaxBillingMinutesPerJob
        AssocMaxBillingPerJob AssocMaxBillingPerNode AssocMaxCpuMinutesPerJobLimit AssocMaxCpuPerJobLimit
        AssocMaxCpuPerNode AssocMaxEnergyMinutesPerJob AssocMaxEnergyPerJob AssocMaxEnergyPerNode
        AssocMaxGRESMinutesPerJob AssocMaxGRESPerJob AssocMaxGRESPerNode AssocMaxLicenseMinutesPerJob
        AssocMaxLicensePerJob AssocMaxMemMinutesPerJob AssocMaxMemPerJob AssocMaxMemPerNode
        AssocMaxNodeMinutesPerJob AssocMaxNodePerJobLimit AssocMaxUnknownMinutesPerJob AssocMaxUnknownPerJob
        AssocMaxUnknownPerNode AssocMaxWallDurationPerJobLimit BadConstraints DependencyNeverSatisfied
        InvalidAccount InvalidQOS MaxMemPerLimit PartitionConfig PartitionNodeLimit PartitionTimeLimit
        QOSMaxBBPerJob QOSMaxBBPerNode QOSMaxBillingMinutesPerJob QOSMaxBillingPerJob QOSMaxBillingPerNode
        QOSMaxCpuMinutesPerJobLimit QOSMaxCpuPerJobLimit QOSMaxCpuPerNode QOSMaxEnergyMinutesPerJob
        QOSMaxEnergyPerJob QOSMaxEnergyPerNode QOSMaxGRESMinutesPerJob QOSMaxGRESPerJob QOSMaxGRESPerNode
        QOSMaxLicenseMinutesPerJob QOSMaxLicensePerJob QOSMaxMemoryMinutesPerJob QOSMaxMemoryPerJob
        QOSMaxMemoryPerNode QOSMaxNodeMinutesPerJob QOSMaxNodePerJobLimit QOSMaxUnknownMinutesPerJob
        QOSMaxUnknownPerJob QOSMaxUnknownPerNode QOSMaxWallDurationPerJobLimit QOSMinBB QOSMinBilling
        QOSMinCpuNotSatisfied QOSMinEnergy QOSMinGRES QOSMinLicense QOSMinMemory QOSMinNode QOSMinUnknown
        QOSNotAllowed ReservationInvalid
    """,
    "failed": """
        DeadLine InactiveLimit JobLaunchFailure NonZeroExitCode OutOfMemory RaisedSignal SchedDefer SystemFailure
        TimeLimit
    """,
}
ABSENT = {  # in which version a reason is not there
    "22.05.8": """
        Constraints InvaildReason InvalidReason MaxBBRunMinsPerAccount MaxBBRunMinsPerUser
        MaxBillingRunMinsPerAccount MaxBillingRunMinsPerUser MaxCpuRunMinsPerAccount MaxCpuRunMinsPerUser
        MaxEnergyRunMinsPerAccount MaxEnergyRunMinsPerUser MaxGRESRunMinsPerAccount MaxGRESRunMinsPerUser
        MaxLicenseRunMinsPerAccount MaxLicenseRunMinsPerUser MaxMemoryRunMinsPerAccount MaxMemoryRunMinsPerUser
        MaxNodeRunMinsPerAccount MaxNodeRunMinsPerUser MaxPoweredUpNodes MaxUnknownRunMinsPerAccount
        MaxUnknownRunMinsPerUser MpiPortsBusy NvidiaImexChannels RaisedSignal ReservationInvalid
    """,
    "24.11.5": """
        BlockFreeAction BlockMaxError InvalidReason NvidiaImexChannels PowerNotAvail PowerReserved
    """,
    "26.05.5": """
        BlockFreeAction BlockMaxError FrontEndDown InvaildReason PowerNotAvail PowerReserved
    """,
}
NUM_REASONS = {"22.05.8": 197, "24.11.5": 217, "26.05.5": 217}
SENTENCES = {  # that the controller writes in place of a reason, as seen or as in its source
    "": "waits",
    "(null)": "waits",
    "199": "waits",  # a number without a name, up to 22.05
    "ReqNodeNotAvail, UnavailableNodes:n[1-4]": "waits",
    "ReqNodeNotAvail, May be reserved for other job": "waits",
    "ReqNodeNotAvail, Reserved for maintenance": "waits",
    "ReqNodeNotAvail, Reserved for other reservations": "waits",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": "waits",
    "launch failed requeued held": "held",
    "launch failure limit exceeded requeued held": "held",
    "user env retrieval failed requeued held": "held",
    "job requeued in held state": "held",
    "job requeued in special exit state": "held",
    "Reservation night was deleted": "held",
    "burst_buffer/lua: slurm_bb_data_in: no such file": "held",
    "Burst buffer stage-in timeout": "held",
    "Job's account not permitted to use this partition (gpu allows lung not heart)": "never starts",
    "Job's account not permitted to use this partition (gpu denies heart including heart)": "never starts",
    "Job's QOS not permitted to use this partition (gpu allows long not normal)": "never starts",
    "Job's QOS not permitted to use this partition (gpu denies normal including normal)": "never starts",
    "Job's account not known, so it can't use this partition (gpu allows lung)": "never starts",
    "Job's QOS not known, so it can't use this partition (gpu allows long)": "never starts",
    "Job's requested licenses are invalid: tea": "never starts",
    "Job's required and excluded node lists overlap": "never starts",
    "User's group not permitted to use this partition": "never starts",
    "uid 1000 not in group permitted to use this partition (gpu). groups allowed: lung": "never starts",
    "RaisedSignal:9(Killed)": "failed",
}


def reasons(version: str) -> set[str]:
    return {name for names in KINDS.values() for name in names.split()} - set(ABSENT[version].split())
