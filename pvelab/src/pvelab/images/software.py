"""What single guests carry on their own system disk beside the common software: too large for
everybody's initial file system.

ldap   slapd with its libraries: a directory server that really searches
https  lighttpd with mbed TLS: a web server that really speaks TLS
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pvelab.images.initramfs import find_library


@dataclass(frozen=True, slots=True)
class Software:
    """Files by the name that they get, from where their packages keep them, and the libraries that
    are in no initial file system.

    Libraries are sonames (readelf -d, all the way down); they come into a folder ``lib``.
    """

    files: dict[str, str]
    libraries: tuple[str, ...]


SOFTWARE = {
    "ldap": Software(
        {
            "slapd": "usr/sbin/slapd",
            "lib/back_mdb.so": "usr/lib/ldap/back_mdb.so",
            "core.schema": "etc/ldap/schema/core.schema",
        },
        (
            *(
                "libldap-2.5.so.0",
                "liblber-2.5.so.0",
                "libslapi-2.5.so.0",
                "libsasl2.so.2",
                "libltdl.so.7",
            ),
            *(
                "libgnutls.so.30",
                "libp11-kit.so.0",
                "libffi.so.8",
                "libidn2.so.0",
                "libunistring.so.2",
                "libtasn1.so.6",
            ),
            *(
                "libnettle.so.8",
                "libhogweed.so.6",
                "libwrap.so.0",
                "libnsl.so.2",
                "libtirpc.so.3",
                "libgssapi_krb5.so.2",
            ),
            *(
                "libkrb5.so.3",
                "libk5crypto.so.3",
                "libkrb5support.so.0",
                "libcom_err.so.2",
                "libkeyutils.so.1",
                "libresolv.so.2",
            ),
        ),
    ),
    "https": Software(
        {"lighttpd": "usr/sbin/lighttpd", "lib/mod_mbedtls.so": "usr/lib/lighttpd/mod_mbedtls.so"},
        (
            "libmbedtls.so.14",
            "libmbedx509.so.1",
            "libmbedcrypto.so.7",
            "libnettle.so.8",
            "libxxhash.so.0",
        ),
    ),
}
# apt-get download fetches what is named and nothing that it depends on, so the libraries are named
# too
PACKAGES = (
    *(
        "slapd",
        "libldap-2.5-0",
        "libsasl2-2",
        "libltdl7",
        "libgnutls30",
        "libp11-kit0",
        "libffi8",
        "libidn2-0",
        "libunistring2",
    ),
    *(
        "libtasn1-6",
        "libnettle8",
        "libhogweed6",
        "libwrap0",
        "libnsl2",
        "libtirpc3",
        "libgssapi-krb5-2",
        "libkrb5-3",
    ),
    *("libk5crypto3", "libkrb5support0", "libcom-err2", "libkeyutils1"),
    *(
        "lighttpd",
        "lighttpd-mod-mbedtls",
        "libmbedtls14",
        "libmbedx509-1",
        "libmbedcrypto7",
        "libxxhash0",
    ),
)


def collect(tree: Path, folder: Path) -> None:
    """Given the unpacked packages, copy every software into a folder of its kind under
    ``folder``.
    """
    for kind, software in SOFTWARE.items():
        (folder / kind / "lib").mkdir(parents=True)
        for name, source in software.files.items():
            shutil.copy(tree / source, folder / kind / name)
        for soname in software.libraries:
            shutil.copy(find_library(tree, soname), folder / kind / "lib" / soname)
