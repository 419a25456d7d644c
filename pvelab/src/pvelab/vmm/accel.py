"""Which accelerator really boots a guest here: ``/dev/kvm`` may exist and not work, so a guest is
booted to find out.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from pvelab.images.build import Images, build_guest_disks
from pvelab.images.site import GuestSeed
from pvelab.vmm.machine import Machine, QemuError
from pvelab.vmm.network import Networks
from pvelab.vmm.spec import Disk, MachineSpec

# Seconds within which a guest under working KVM is up many times over.
TIMEOUT_S = 5.0
READY = "lab-guest-ready"


def choose(images: Images) -> str:
    """Given the images, return ``kvm`` if a guest boots under it here, else ``tcg``. The answer is
    kept until the next reboot.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = images.folder / f"accelerator-{boot}"
    if not answer.exists():
        # several labs may find out at once
        fresh = answer.with_suffix(f".{os.getpid()}")
        fresh.write_text(
            "kvm"
            if os.access("/dev/kvm", os.R_OK | os.W_OK) and boots(images, "kvm", TIMEOUT_S)
            else "tcg"
        )
        fresh.replace(answer)
    return answer.read_text()


def boots(images: Images, accelerator: str, timeout_s: float) -> bool:
    """Given the images and an accelerator, return whether a guest comes up under it within
    ``timeout_s`` seconds.
    """
    networks = Networks()
    with tempfile.TemporaryDirectory(prefix="lab-accel-") as folder:
        seed = GuestSeed(1, "accelerator-test", (), 128)
        disks = tuple(
            Disk(key, path, seed.disks[key])
            for key, path in build_guest_disks(images, seed, Path(folder)).items()
        )
        machine = Machine(
            MachineSpec(1, seed.name, 128, 1, seed.uuid, (), disks, agent=False),
            Path(folder),
            networks,
            accelerator,
        )
        try:
            machine.start()
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline and machine.pid is not None:
                if READY in machine.console():
                    return True
                time.sleep(0.1)
            return False
        except (QemuError, subprocess.SubprocessError):
            return False
        finally:
            machine.stop()
            networks.close()
