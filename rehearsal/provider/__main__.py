"""Serves both providers, each on a free port of 127.0.0.1: ``python -m rehearsal.provider``.

The first line on stdout is the value for the engine's PULUMI_DEBUG_PROVIDERS. It ends with SIGTERM, SIGINT, or the end
of stdin where that is a pipe.
"""

from __future__ import annotations

from engine.language_host import import_messages_alone


def main() -> None:
    # Before the servicers: they import the messages, and all of the SDK with them otherwise.
    import_messages_alone()
    from rehearsal.provider.protocol import serve
    from rehearsal.provider.servicer import GcpProvider, RandomProvider

    serve({"gcp": GcpProvider(), "random": RandomProvider()})


if __name__ == "__main__":
    main()
