"""The TLS context of a Kafka client, from the files that the settings name."""

import ssl
from pathlib import Path


def ssl_context(
    *, ca_file: Path | None, certificate_file: Path | None, key_file: Path | None, key_password: str | None
) -> ssl.SSLContext:
    """The context always verifies the broker's certificate and its host name. Without `ca_file` it trusts the
    system's authorities. Raises ValueError, one sentence that names the setting whose file is invalid."""
    context = ssl.create_default_context()
    if ca_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which trusts this authority alone
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ValueError):
            raise ValueError("CALLFOLD_KAFKA_CA_FILE must hold certificates in PEM.") from None
    if certificate_file:
        _load_certificate(context, certificate_file, key_file, key_password or "")
    return context


def _load_certificate(
    context: ssl.SSLContext, certificate_file: Path, key_file: Path | None, key_password: str
) -> None:
    setting = "CALLFOLD_KAFKA_KEY_FILE" if key_file else "CALLFOLD_KAFKA_CERTIFICATE_FILE"
    is_encrypted = False

    def password() -> str:  # always given: without it, OpenSSL would ask on the terminal
        nonlocal is_encrypted
        is_encrypted = True
        return key_password

    try:
        context.load_cert_chain(certificate_file, key_file, password)
    except (OSError, ValueError) as error:
        if is_encrypted:
            rule = f"CALLFOLD_KAFKA_KEY_PASSWORD must be the password of the key in {setting}."
        elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            rule = f"{setting} must hold the key of CALLFOLD_KAFKA_CERTIFICATE_FILE."
        else:
            rule = f"CALLFOLD_KAFKA_CERTIFICATE_FILE must hold a certificate, and {setting} its key, in PEM."
        raise ValueError(rule) from None
