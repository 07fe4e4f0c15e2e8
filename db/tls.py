"""TLS as the settings want it, in the words of each driver."""

import ssl
from typing import Any

from db.errors import SettingsError
from db.settings import Settings


def context(settings: Settings) -> "ssl.SSLContext | bool":
    """For asyncpg: a context, or False for plain text; raises SettingsError if a file can't be read."""
    if settings.sslmode == "disable" or settings.host.startswith("/"):
        return False
    try:
        made = ssl.create_default_context(cafile=settings.sslrootcert)
        if settings.sslcert:
            made.load_cert_chain(settings.sslcert, settings.sslkey)
    except OSError as error:  # ssl.SSLError is one too
        files = ", ".join(filter(None, (settings.sslrootcert, settings.sslcert, settings.sslkey)))
        raise SettingsError(f"DATABASE_SSLROOTCERT, _SSLCERT, _SSLKEY: {files}: {error}") from None
    made.check_hostname = settings.sslmode == "verify-full"
    if settings.sslmode == "require":
        made.verify_mode = ssl.CERT_NONE
    return made


def arguments(settings: Settings) -> dict[str, Any]:
    """For libpq: sslmode and the files. A socket never has TLS."""
    if settings.sslmode == "disable" or settings.host.startswith("/"):
        return {"sslmode": "disable"}
    # libpq's own default is a file in the home directory; `system` means the CAs that the machine trusts.
    root = settings.sslrootcert or ("system" if settings.sslmode == "verify-full" else None)
    files = {"sslrootcert": root, "sslcert": settings.sslcert, "sslkey": settings.sslkey}
    return {"sslmode": settings.sslmode, **{name: value for name, value in files.items() if value}}
