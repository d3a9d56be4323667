"""Pack DICOM studies into shards: one shard with --shard, the seal alone with --seal, everything without either."""

from cac_hpc import settings


def main() -> int:
    run, asked = settings.parse_stage(
        __doc__,
        numbers={"shard": "pack this shard only"},
        flags={"seal": "check the packed shards and write the dataset's tables"},
    )
    from cac_hpc import logs, packing

    logs.setup()
    if asked["seal"]:
        packing.seal(run)
    elif asked["shard"] is not None:
        packing.pack_shard(run, asked["shard"])
    else:
        packing.pack(run)
    return 0


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
