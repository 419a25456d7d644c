"""/access: tickets, permissions, roles, access control list, users and API tokens
(libpve-access-control PVE/API2/*).
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from pvelab import authentication
from pvelab.access import Identity, ancestry
from pvelab.kernel import Call, LabError, parameter_error, route
from pvelab.privileges import ROLES
from pvelab.schema.formats import split_list

_BASE_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")
_ACL_PATH = re.compile(
    r"/|/(access|access/groups(/[^/]+)?|access/realm(/[^/]+)?|nodes(/[^/]+)?|pool(/[^/]+)*|sdn(/.+)?|storage(/[^/]+)?|vms(/[1-9]\d+)?"
    r"|mapping(/.+)?)"
)
_CAPABILITIES = {
    "vms": ("/vms", ("VM.", "Permissions.Modify")),
    "storage": ("/storage", ("Datastore.", "Permissions.Modify")),
    "nodes": ("/nodes", ("Sys.", "Permissions.Modify")),
    "access": ("/access", ("User.Modify", "Group.Allocate", "Permissions.Modify")),
    "dc": ("/", ("Sys.Audit", "Sys.Modify", "SDN.")),
    "sdn": ("/sdn", ("SDN.", "Permissions.Modify")),
    "mapping": ("/mapping", ("Mapping.", "Permissions.Modify")),
}


@route("GET", "/access")
def access_index(call: Call) -> Any:
    """List what is below."""
    return [
        {"subdir": name}
        for name in (
            "users",
            "groups",
            "roles",
            "acl",
            "domains",
            "openid",
            "tfa",
            "ticket",
            "permissions",
        )
    ]


@route("GET", "/access/domains")
def domains(call: Call) -> Any:
    """List the realms; everybody may."""
    return [
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
    ]


@route("GET", "/access/ticket")
def dummy_ticket(call: Call) -> Any:
    """Answer nothing, as PVE does for its login page."""
    return None


@route("POST", "/access/ticket")
def ticket(call: Call) -> Any:
    """Log in with a password, or renew with a ticket in its place."""
    user = str(call.params["username"])
    if "realm" in call.params and "@" not in user:
        # the login page sends the realm beside the name, other clients within it
        user += f"@{call.params['realm']}"
    access = call.lab.access
    authentication.login(access, user, str(call.params["password"]))
    return {
        "username": user,
        "ticket": authentication.make_ticket(access, user),
        "CSRFPreventionToken": authentication.make_csrf(access, user),
        **(
            {"clustername": call.lab.settings["cluster"]}
            if call.lab.settings.get("cluster")
            else {}
        ),
        # what the web page shows or hides by; no right follows from it
        "cap": {
            group: {
                privilege: 1
                for privilege in sorted(access.privileges(Identity(user), path))
                if privilege.startswith(prefixes)
            }
            for group, (path, prefixes) in _CAPABILITIES.items()
        },
    }


@route("GET", "/access/permissions")
def permissions(call: Call) -> Any:
    """List the privileges of the caller (or of ``userid``) by path, with 1 for those that
    propagate.
    """
    identity = call.identity
    if (wanted := call.params.get("userid")) and wanted != identity.name:
        # everybody may ask for his own
        call.check("/access", "Sys.Audit")
        user, _, token = wanted.partition("!")
        identity = Identity(user, token or None)
    access = call.lab.access
    named = [*(entry["path"] for entry in access.acl), *access.pooled_paths()]
    paths = (
        [call.params["path"]]
        if "path" in call.params
        else sorted({*_BASE_PATHS, *(above for path in named for above in ancestry(path))})
    )
    found = {path: access.propagates(identity, path) for path in paths}
    # a path that was asked for is answered even where nothing is held on it
    return {path: privs for path, privs in found.items() if privs or "path" in call.params}


@route("GET", "/access/roles")
def roles(call: Call) -> Any:
    """List all roles."""
    own = {name: frozenset(privs) for name, privs in call.lab.access.roles.items()}
    every = [(name, privs, 1) for name, privs in ROLES.items()] + [
        (name, privs, 0) for name, privs in own.items()
    ]
    return [
        {"roleid": name, "privs": ",".join(sorted(privs)), "special": special}
        for name, privs, special in sorted(every)
    ]


@route("GET", "/access/roles/{roleid}")
def role(call: Call) -> Any:
    """Return a role's privileges."""
    privs = call.lab.access.role(call.params["roleid"])
    if privs is None:
        raise LabError(500, f"role '{call.params['roleid']}' does not exist")
    return dict.fromkeys(sorted(privs), 1)


@route("POST", "/access/roles")
def create_role(call: Call) -> Any:
    """Create a role."""
    name, access = call.params["roleid"], call.lab.access
    if access.role(name) is not None:
        raise LabError(500, f"create role failed: role '{name}' already exists")
    access.roles[name] = split_list(call.params.get("privs", ""))
    access.save()


@route("PUT", "/access/roles/{roleid}")
def update_role(call: Call) -> Any:
    """Replace a role's privileges, or add to them with ``append``."""
    name, access = call.params["roleid"], call.lab.access
    if name not in access.roles:
        text = (
            f"auto-generated role '{name}' cannot be modified"
            if name in ROLES
            else f"role '{name}' does not exist"
        )
        raise LabError(500, text)
    privs = split_list(call.params.get("privs", ""))
    access.roles[name] = (
        sorted({*access.roles[name], *privs}) if call.params.get("append") else privs
    )
    access.save()


@route("DELETE", "/access/roles/{roleid}")
def delete_role(call: Call) -> Any:
    """Delete a role with the entries that grant it."""
    name, access = call.params["roleid"], call.lab.access
    if name not in access.roles:
        text = (
            f"auto-generated role '{name}' cannot be deleted"
            if name in ROLES
            else f"role '{name}' does not exist"
        )
        raise LabError(500, text)
    del access.roles[name]
    # an entry of a role that is gone would come to life with a new role of that name
    access.acl[:] = [entry for entry in access.acl if entry["roleid"] != name]
    access.save()


@route("GET", "/access/acl")
def acl(call: Call) -> Any:
    """List the entries that the caller may see: all with Sys.Audit on /access, else those whose
    path may be modified.
    """
    everything = call.allowed("/access", "Sys.Audit")
    return [
        dict(e)
        for e in call.lab.access.acl
        if everything or call.allowed(e["path"], "Permissions.Modify")
    ]


@route("PUT", "/access/acl")
def update_acl(call: Call) -> Any:
    """Add or delete entries: every role for every user, token and group named."""
    path, access = call.params["path"].rstrip("/") or "/", call.lab.access
    # a path of a guest or storage that does not exist is fine: rights may come first
    if not _ACL_PATH.fullmatch(path):
        raise parameter_error(path=f"invalid ACL path '{path}'")
    for roleid in split_list(call.params["roles"]):
        if access.role(roleid) is None:
            raise LabError(500, f"ACL update failed: role '{roleid}' does not exist")
        for kind, ugid in _subjects(call):
            entry = {
                "path": path,
                "type": kind,
                "ugid": ugid,
                "roleid": roleid,
                "propagate": call.params.get("propagate", 1),
            }
            # an entry that is set once more is replaced: its propagation may have changed
            access.acl[:] = [
                e for e in access.acl if (e["path"], e["ugid"], e["roleid"]) != (path, ugid, roleid)
            ]
            if not call.params.get("delete"):
                access.acl.append(entry)
    access.save()


def _subjects(call: Call) -> list[tuple[str, str]]:
    """Return who the entries are for. Raise LabError 500 if a user or token does not exist."""
    access, found = call.lab.access, []
    for user in split_list(call.params.get("users", "")):
        if user not in access.users:
            raise LabError(500, f"ACL update failed: no such user ('{user}')")
        found.append(("user", user))
    for token in split_list(call.params.get("tokens", "")):
        user, _, name = token.partition("!")
        if token not in access.tokens:
            raise LabError(500, f"ACL update failed: no such token '{name}' for user '{user}'")
        found.append(("token", token))
    for group in split_list(call.params.get("groups", "")):
        if group not in access.groups:
            raise LabError(500, f"ACL update failed: no such group '{group}'")
        found.append(("group", group))
    return found


@route("GET", "/access/users")
def users(call: Call) -> Any:
    """List all users to those who may see them, else only the caller."""
    everything = call.allowed("/access/groups", "User.Modify", "Sys.Audit", any=True)
    rows: list[dict[str, Any]] = []
    for name, user in sorted(call.lab.access.users.items()):
        row = {"userid": name, "realm-type": name.rpartition("@")[2], **user}
        tokens = {"tokens": list(_tokens(call, name))} if call.params.get("full") else {}
        rows.append({**row, **tokens})
    wanted = call.params.get("enabled")
    seen = [row for row in rows if everything or row["userid"] == call.identity.user]
    return [row for row in seen if wanted is None or row.get("enable", 1) == wanted]


@route("GET", "/access/users/{userid}")
def user(call: Call) -> Any:
    """Return one user."""
    _need_user(call)
    tokens = {row.pop("tokenid"): row for row in _tokens(call, call.params["userid"])}
    name, access = call.params["userid"], call.lab.access
    return {
        **access.users[name],
        "tokens": tokens,
        "groups": [g for g, row in sorted(access.groups.items()) if name in row["users"]],
    }


@route("POST", "/access/users")
def create_user(call: Call) -> Any:
    """Create a user."""
    name, access = call.params["userid"], call.lab.access
    if name in access.users:
        raise LabError(500, f"create user failed: user '{name}' already exists")
    kept: dict[str, Any] = _given(call, "comment", "email", "firstname", "lastname")
    groups = split_list(call.params.get("groups", ""))
    for group in groups:
        if group not in access.groups:
            raise LabError(500, f"create user failed: group '{group}' does not exist")
    access.users[name] = {
        "enable": call.params.get("enable", 1),
        "expire": call.params.get("expire", 0),
        **kept,
    }
    for group in groups:
        access.groups[group]["users"].append(name)
    if "password" in call.params:
        access.passwords[name] = authentication.password_digest(
            access, name, call.params["password"]
        )
    access.save()


@route("DELETE", "/access/users/{userid}")
def delete_user(call: Call) -> Any:
    """Delete a user with its tokens, its rights and its memberships."""
    _need_user(call)
    name, access = call.params["userid"], call.lab.access
    # nobody could give rights any more
    if name == "root@pam":
        raise LabError(500, "delete user failed: not allowed to delete root@pam")
    owned = {name, *(full for full in access.tokens if full.startswith(f"{name}!"))}
    access.users.pop(name)
    access.passwords.pop(name, None)
    for full in owned - {name}:
        del access.tokens[full]
    # a new user of the same name must not inherit them
    access.acl[:] = [entry for entry in access.acl if entry["ugid"] not in owned]
    for group in access.groups.values():
        group["users"] = [user for user in group["users"] if user != name]
    access.save()


@route("GET", "/access/users/{userid}/token")
def tokens(call: Call) -> Any:
    """List a user's tokens."""
    _need_user(call)
    return list(_tokens(call, call.params["userid"]))


@route("GET", "/access/users/{userid}/token/{tokenid}")
def token(call: Call) -> Any:
    """Return one token, without its secret."""
    return _public(_need_token(call))


@route("POST", "/access/users/{userid}/token/{tokenid}")
def create_token(call: Call) -> Any:
    """Create a token and return its secret, once."""
    _need_user(call)
    full, access = f"{call.params['userid']}!{call.params['tokenid']}", call.lab.access
    if full in access.tokens:
        raise parameter_error(tokenid="Token already exists.")
    # PVE separates privileges unless told otherwise: such a token holds nothing of its own yet
    info = {**_given(call, "comment", "expire"), "privsep": call.params.get("privsep", 1)}
    access.tokens[full] = {"expire": 0, **info, "secret": str(uuid.uuid4())}
    access.save()
    # Perl hands the flag back as it came: a string
    return {
        "full-tokenid": full,
        "value": access.tokens[full]["secret"],
        "info": {**info, "privsep": str(info["privsep"])},
    }


@route("DELETE", "/access/users/{userid}/token/{tokenid}")
def delete_token(call: Call) -> Any:
    """Delete a token with its ACL entries."""
    _need_token(call)
    full, access = f"{call.params['userid']}!{call.params['tokenid']}", call.lab.access
    del access.tokens[full]
    access.acl[:] = [entry for entry in access.acl if entry["ugid"] != full]
    access.save()


def _given(call: Call, *names: str) -> dict[str, Any]:
    return {name: call.params[name] for name in names if name in call.params}


def _need_user(call: Call) -> None:
    if call.params["userid"] not in call.lab.access.users:
        raise LabError(500, f"no such user ('{call.params['userid']}')")


def _need_token(call: Call) -> dict[str, Any]:
    _need_user(call)
    found = call.lab.access.tokens.get(f"{call.params['userid']}!{call.params['tokenid']}")
    if found is None:
        raise LabError(
            500, f"no such token '{call.params['tokenid']}' for user '{call.params['userid']}'"
        )
    return found


def _tokens(call: Call, userid: str) -> list[dict[str, Any]]:
    prefix = f"{userid}!"
    own = [
        (name, entry)
        for name, entry in sorted(call.lab.access.tokens.items())
        if name.startswith(prefix)
    ]
    return [{"tokenid": name.removeprefix(prefix), **_public(entry)} for name, entry in own]


def _public(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "secret"}
