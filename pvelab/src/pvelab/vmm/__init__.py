"""The lab's hardware: QEMU guests, layer-2 segments, the probe appliance and the nodes' SSH
endpoints.

    spec.py      MachineSpec, Disk, Nic: what a machine is made of
    machine.py   Machine: one QEMU process: start, stop, agent, QMP, point-in-time copies of all its disks
    network.py   Networks: a VLAN-aware layer-2 switch in this process; no interface of the host is ever attached
    probe.py     Probe: a small guest with SSH whose second NIC is on the isolated bridge
    nodes.py     NodeSsh: an SSH/SFTP endpoint for each cluster node
    accel.py     which accelerator really boots a guest here
    processes.py children that die with the process that started them

Use:

    networks = Networks()
    machine = Machine(spec, run_dir, networks, accelerator)     # accelerator: accel.choose(images)
    machine.start(); machine.agent("guest-ping"); machine.snapshot({"scsi0": path}, freeze=True); machine.stop()
    networks.close()
"""
