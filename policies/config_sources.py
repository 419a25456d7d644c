"""Where Proxmox VE tells a cluster's configuration: which call of its API becomes which file, and
which of its fields stand there.

A field that is not named here keeps its name and loses its value: it may be a secret of a version
that nobody has seen yet.
"""

from __future__ import annotations

from policies.cluster_config import SeesAll, Source, words
from policies.pve.privileges import LOCAL_ZONE

_AUDITED = SeesAll("/", ("Sys.Audit",))
_VMS = SeesAll("/vms", ("VM.Audit",))
_GROUPS = SeesAll("/access/groups", ("Sys.Audit", "User.Modify"))
_POOLS = SeesAll("/pool", ("Pool.Audit",))
_SDN = SeesAll("/sdn/zones", ("SDN.Audit", "SDN.Use"))
_MAPPING = ("Mapping.Audit", "Mapping.Use", "Mapping.Modify")
_RULE = words(
    "action comment dest dport enable icmp-type iface ipversion log macro proto source sport type"
)
_FIREWALL = words(
    "dhcp ebtables enable ipfilter log_level_forward log_level_in log_level_out log_nf_conntrack "
    "log_ratelimit macfilter ndp nf_conntrack_allow_invalid nf_conntrack_helpers nf_conntrack_max "
    "nf_conntrack_tcp_timeout_established nf_conntrack_tcp_timeout_syn_recv nftables nosmurfs "
    "policy_forward policy_in policy_out protection_synflood protection_synflood_burst "
    "protection_synflood_rate radv smurf_log_level tcp_flags_log_level tcpflags"
)


def _firewall(path: str, folder: str, *, sets: bool = True) -> tuple[Source, ...]:
    """The firewall at a path of the API; a node's has no sets of addresses."""
    found = (
        Source(f"{path}/options", f"{folder}/options.cfg", _FIREWALL),
        Source(f"{path}/rules", f"{folder}/rules.cfg", _RULE, ("pos",), "rule"),
    )
    if not sets:
        return found
    addresses = Source(
        f"{path}/ipset/{{name}}",
        f"{folder}/ipset/{{name}}.cfg",
        words("comment nomatch"),
        ("cidr",),
        "address",
    )
    return (
        *found,
        Source(f"{path}/aliases", f"{folder}/aliases.cfg", words("cidr comment"), ("name",), "alias"),
        Source(
            f"{path}/ipset", f"{folder}/ipset.cfg", words("comment"), ("name",), "ipset",
            each=addresses,
        ),
    )  # fmt: skip


CLUSTER: tuple[Source, ...] = (
    Source(
        "storage",
        "storage.cfg",
        words(
            "authsupported base blocksize bwlimit comstar_hg comstar_tg content content-dirs "
            "create-base-path create-subdirs data-pool datastore disable domain export fingerprint "
            "format fs-name fuse is_mountpoint iscsiprovider krbd lio_tpg max-protected-backups "
            "maxfiles mkdir monhost mountpoint namespace nocow nodes nowritecache options path pool "
            "port portal preallocation prune-backups saferemove saferemove_throughput server server2 "
            "share shared skip-cert-verification smbversion snapshot-as-volume-chain sparse subdir "
            "tagged_only target thinpool transport username vgname volume zfs-base-path"
        ),
        ("storage",),
        "storage",
        typed=True,
        sees_all=SeesAll("/storage", ("Datastore.Audit", "Datastore.AllocateSpace")),
    ),
    Source(
        "cluster/backup",
        "jobs.cfg",
        words(
            "all bwlimit comment compress dow dumpdir enabled exclude exclude-path fleecing ionice "
            "lockwait mailnotification mailto maxfiles mode node notes-template notification-mode "
            "notification-policy notification-target pbs-change-detection-mode performance pigz pool "
            "protected prune-backups quiet remove repeat-missed schedule script starttime "
            "stdexcludes stop stopwait storage tmpdir vmid zstd"
        ),
        ("id",),
        "vzdump",
        typed=True,
    ),
    Source(
        "cluster/replication",
        "replication.cfg",
        words("comment disable guest jobnum rate remove_job schedule source target"),
        ("id",),
        "local",
        typed=True,
        sees_all=_VMS,
    ),
    Source(
        "cluster/options",
        "datacenter.cfg",
        words(
            "bwlimit consent-text console crs description email_from fencing ha http_proxy keyboard "
            "language location mac_prefix max_workers migration migration_unsecure next-id notify "
            "registered-tags replication tag-style u2f user-tag-access webauthn"
        ),
        sees_all=_AUDITED,
    ),
    Source(
        "cluster/config/nodes",
        "corosync-nodes.cfg",
        words("name nodeid quorum_votes " + " ".join(f"ring{link}_addr" for link in range(8))),
        ("node",),
        "node",
    ),
    Source(
        "cluster/ha/resources",
        "ha/resources.cfg",
        words("comment failback group max_relocate max_restart state"),
        ("sid",),
        "vm",
        typed=True,
    ),
    Source(
        "cluster/ha/groups",
        "ha/groups.cfg",
        words("comment nodes nofailback restricted"),
        ("group",),
        "group",
    ),
    Source(
        "cluster/ha/rules",
        "ha/rules.cfg",
        words("affinity comment disable nodes order resources strict"),
        ("rule",),
        "rule",
        typed=True,
    ),
    Source(
        "access/users",
        "access/users.cfg",
        words("comment email enable expire firstname groups lastname privsep"),
        ("userid",),
        "user",
        typed=True,
        sees_all=_GROUPS,
        params={"full": "1"},
    ),
    Source(
        "access/groups",
        "access/groups.cfg",
        words("comment users"),
        ("groupid",),
        "group",
        sees_all=_GROUPS,
    ),
    Source("access/roles", "access/roles.cfg", words("privs"), ("roleid",), "role"),
    Source(
        "access/acl",
        "access/acl.cfg",
        words("propagate"),
        ("path", "type", "ugid", "roleid"),
        "acl",
        sees_all=SeesAll("/access", ("Sys.Audit",)),
    ),
    Source(
        "access/domains",
        "access/realms.cfg",
        words("comment default tfa"),
        ("realm",),
        "realm",
        typed=True,
        each=Source(
            "access/domains/{name}",
            "access/realms/{name}.cfg",
            words(
                "acr-values audiences autocreate base_dn bind_dn capath case-sensitive "
                "check-connection client-id comment default domain filter group_classes group_dn "
                "group_filter group_name_attr groups-autocreate groups-claim groups-overwrite "
                "issuer-url mode port prompt query-userinfo scopes secure server1 server2 sslversion "
                "sync-defaults-options sync_attributes tfa type user_attr user_classes "
                "username-claim verify"
            ),
        ),
    ),
    Source(
        "pools",
        "pools.cfg",
        words("comment"),
        ("poolid",),
        "pool",
        sees_all=_POOLS,
        # a pool may lie within another one, and its name is no path then
        each=Source(
            "pools",
            "pools/{name}.cfg",
            words("comment members"),
            ("poolid",),
            "pool",
            params={"poolid": "{name}"},
        ),
    ),
    Source(
        "cluster/sdn/zones",
        "sdn/zones.cfg",
        words(
            "advertise-subnets bridge bridge-disable-mac-learning controller dhcp "
            "disable-arp-nd-suppression dns dnszone dp-id exitnodes exitnodes-local-routing "
            "exitnodes-primary ipam mac mtu nodes peers reversedns rt-import tag vlan-protocol "
            "vrf-vxlan vxlan-port"
        ),
        ("zone",),
        "zone",
        typed=True,
        sees_all=_SDN,
    ),
    Source(
        "cluster/sdn/vnets",
        "sdn/vnets.cfg",
        words("alias isolate-ports tag vlanaware zone"),
        ("vnet",),
        "vnet",
        typed=True,
        sees_all=_SDN,
        each=Source(
            "cluster/sdn/vnets/{name}/subnets",
            "sdn/vnets/{name}.cfg",
            words(
                "cidr dhcp-dns-server dhcp-range dnszoneprefix gateway id mask network snat vnet zone"
            ),
            ("subnet",),
            "subnet",
            typed=True,
        ),
    ),
    Source(
        "cluster/sdn/controllers",
        "sdn/controllers.cfg",
        words(
            "asn bgp-multipath-as-path-relax ebgp ebgp-multihop fabric isis-domain isis-ifaces "
            "isis-net loopback node nodes peers"
        ),
        ("controller",),
        "controller",
        typed=True,
        sees_all=SeesAll("/sdn/controllers", ("SDN.Audit", "SDN.Allocate")),
    ),
    Source(
        "cluster/metrics/server",
        "metrics.cfg",
        words("disable port server"),
        ("id",),
        "server",
        typed=True,
    ),
    *(
        Source(
            f"cluster/mapping/{kind}",
            f"mapping/{kind}.cfg",
            words("description live-migration-capable map mdev"),
            ("id",),
            kind,
            sees_all=SeesAll(f"/mapping/{kind}", _MAPPING),
        )
        for kind in ("pci", "usb", "dir")
    ),
    *(
        Source(
            f"cluster/notifications/{kind}s",
            f"notifications/{kind}s.cfg",
            words(
                "comment disable invert-match match-calendar match-field match-severity mode origin "
                "target"
            ),
            ("name",),
            kind,
            typed=True,
            sees_all=SeesAll("/mapping/notifications", _MAPPING),
        )
        for kind in ("target", "matcher")
    ),
    *_firewall("cluster/firewall", "firewall"),
    Source(
        "cluster/firewall/groups",
        "firewall/groups.cfg",
        words("comment"),
        ("group",),
        "group",
        each=Source(
            "cluster/firewall/groups/{name}", "firewall/groups/{name}.cfg", _RULE, ("pos",), "rule"
        ),
    ),
)

NODE: tuple[Source, ...] = (
    Source(
        "nodes/{node}/network",
        "nodes/{node}/network.cfg",
        words(
            "address address6 autostart bond-primary bond_mode bond_xmit_hash_policy bridge-access "
            "bridge-arp-nd-suppress bridge-learning bridge-multicast-flood bridge-unicast-flood "
            "bridge_fd bridge_ports bridge_stp bridge_vids bridge_vlan_aware cidr cidr6 comments "
            "comments6 gateway gateway6 link-type method method6 mtu netmask netmask6 options "
            "options6 ovs_bonds ovs_bridge ovs_mtu ovs_options ovs_ports ovs_tag slaves "
            "uplink-id vlan-id vlan-protocol vlan-raw-device vxlan-id vxlan-local-tunnelip "
            "vxlan-physdev vxlan-svcnodeip"
        ),
        ("iface",),
        "interface",
        typed=True,
        sees_all=SeesAll(LOCAL_ZONE, ("SDN.Audit", "SDN.Use")),
    ),
    Source("nodes/{node}/dns", "nodes/{node}/dns.cfg", words("dns1 dns2 dns3 search")),
    Source("nodes/{node}/hosts", "nodes/{node}/hosts.cfg", words("data")),
    Source(
        "nodes/{node}/config",
        "nodes/{node}/config.cfg",
        words("acme ballooning-target description location startall-onboot-delay wakeonlan")
        | {f"acmedomain{number}" for number in range(6)},
    ),
    *_firewall("nodes/{node}/firewall", "nodes/{node}/firewall", sets=False),
)

# files of the cluster that are no lists
OBJECTS = frozenset(source.file for source in CLUSTER if not source.id)

# which of its fields are numbered (net0, net1) is told by the digits at their end
QEMU = Source(
    "nodes/{node}/qemu/{vmid}/config",
    "guests/qemu-{vmid}.conf",
    words(
        "acpi affinity agent allow-ksm amd-sev arch args audio autostart balloon bios boot bootdisk "
        "cdrom cicustom citype ciupgrade ciuser cores cpu cpulimit cpuunits description efidisk "
        "freeze hookscript hostpci hotplug hugepages ide intel-tdx ipconfig ivshmem keephugepages "
        "keyboard kvm localtime machine memory meta migrate_downtime migrate_speed name nameserver "
        "net numa onboot ostype parallel parent protection reboot rng sata scsi scsihw searchdomain "
        "serial shares smbios smp sockets spice_enhancements sshkeys startdate startup tablet tags "
        "tdf template tpmstate unused usb vcpus vga virtio virtiofs vmgenid vmstatestorage watchdog"
    ),
)
LXC = Source(
    "nodes/{node}/lxc/{vmid}/config",
    "guests/lxc-{vmid}.conf",
    words(
        "arch cmode console cores cpulimit cpuunits debug description dev entrypoint features "
        "hookscript hostname lxc memory mp nameserver net onboot ostype parent protection rootfs "
        "searchdomain startup swap tags template timezone tty unprivileged unused"
    ),
)
# where each guest is: a node that is built anew has none of them
GUESTS = Source(
    "cluster/resources", "guests.cfg", words("node"), ("vmid",), "qemu", typed=True, sees_all=_VMS
)
GUESTS_FOLDER = "guests/"
_OF_KIND = {"qemu": QEMU, "lxc": LXC}


def guest_sources(kind: str, node: str, vmid: int) -> tuple[Source, ...]:
    """Given a guest's kind (``qemu`` or ``lxc``), node and VMID, return what is read of it, its
    configuration first.
    """
    names = {"node": node, "vmid": str(vmid)}
    firewall = _firewall(
        f"nodes/{{node}}/{kind}/{{vmid}}/firewall", f"{GUESTS_FOLDER}{kind}-{{vmid}}.firewall"
    )
    return tuple(one.at(**names) for one in (_OF_KIND[kind], *firewall))


def node_sources(node: str) -> tuple[Source, ...]:
    """Given a node, return what is read of it."""
    return tuple(one.at(node=node) for one in NODE)
