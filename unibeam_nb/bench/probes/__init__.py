"""What can be measured of a machine besides its boot; one module each.

    footprint   what a machine that has just become ready occupies, from every side
    idle        processor time of a machine that nobody asks anything
    steady      answers per second and their latency under a fixed load of wrk(1)
    density     several copies of one arm at once
    minimum     the least memory in which an arm still reaches its mark

They take machines, or what starts them, and give numbers under the names of :attr:`unibeam_nb.model.Sample.values`.
"""
