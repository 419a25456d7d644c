"""PVE 9's privileges and built-in roles (libpve-access-control, PVE/AccessControl.pm)."""

from __future__ import annotations

_VM_USER = (
    "VM.Audit",
    "VM.Backup",
    "VM.Config.CDROM",
    "VM.Config.Cloudinit",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.PowerMgmt",
)
_VM_ADMIN = (
    "VM.Allocate",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
)
_DATASTORE = (
    "Datastore.Audit",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Allocate",
)
_SDN = ("SDN.Audit", "SDN.Use", "SDN.Allocate")
_MAPPING = ("Mapping.Audit", "Mapping.Use", "Mapping.Modify")
_POOL = ("Pool.Audit", "Pool.Allocate")
_SYS = (
    "Sys.Audit",
    "Sys.Syslog",
    "Sys.Console",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.AccessNetwork",
    "Sys.Incoming",
)
_USERS = (
    "Permissions.Modify",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "Group.Allocate",
    "User.Modify",
)

PRIVILEGES = tuple(
    sorted((*_VM_USER, *_VM_ADMIN, *_DATASTORE, *_SDN, *_MAPPING, *_POOL, *_SYS, *_USERS))
)

ROLES: dict[str, frozenset[str]] = {
    "Administrator": frozenset(PRIVILEGES),
    "NoAccess": frozenset(),
    "PVEAdmin": frozenset(PRIVILEGES)
    - {
        "Permissions.Modify",
        "Realm.Allocate",
        "Sys.Modify",
        "Sys.PowerMgmt",
        "Sys.AccessNetwork",
        "Sys.Incoming",
    },
    "PVEAuditor": frozenset(p for p in PRIVILEGES if p.endswith(".Audit")),
    "PVEDatastoreAdmin": frozenset(_DATASTORE),
    "PVEDatastoreUser": frozenset(("Datastore.Audit", "Datastore.AllocateSpace")),
    "PVEMappingAdmin": frozenset(_MAPPING),
    "PVEMappingAuditor": frozenset(("Mapping.Audit",)),
    "PVEMappingUser": frozenset(("Mapping.Audit", "Mapping.Use")),
    "PVEPoolAdmin": frozenset(_POOL),
    "PVEPoolUser": frozenset(("Pool.Audit",)),
    "PVESDNAdmin": frozenset(_SDN),
    "PVESDNUser": frozenset(("SDN.Audit", "SDN.Use")),
    "PVESysAdmin": frozenset(("Sys.Audit", "Sys.Console", "Sys.Syslog")),
    "PVETemplateUser": frozenset(("VM.Audit", "VM.Clone")),
    "PVEUserAdmin": frozenset(("Group.Allocate", "Realm.AllocateUser", "User.Modify")),
    "PVEVMAdmin": frozenset((*_VM_USER, *_VM_ADMIN)),
    "PVEVMUser": frozenset(_VM_USER),
}
