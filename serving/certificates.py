"""Files of certificates, looked at before gRPC takes them.

It takes whatever they hold, and says no more than that it cannot connect, or listen.
"""

import functools
import ssl


def check(certificate=None, key=None, authority=None):
    """Looks at files in PEM format.

    Args:
        certificate: A certificate, None for none.
        key: Its key.
        authority: The certificate of an authority, None for none.

    Raises:
        OSError: If one cannot be read.
        ValueError: If one holds something else, or the key is another certificate's,
            or encrypted.
    """
    for path in (certificate, key, authority):
        if path is not None:
            open(path, "rb").close()  # What is raised here names the file.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate is not None:
        refuse = functools.partial(_refuse_encrypted, key)
        try:
            context.load_cert_chain(certificate, key, password=refuse)
        except ssl.SSLError as error:
            raise ValueError(
                f"{certificate} and {key} must be a certificate and its key in PEM: "
                f"{error}"
            ) from error
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise ValueError(
                f"{authority} must be the certificate of an authority in PEM: {error}"
            ) from error


def _refuse_encrypted(key):
    raise ValueError(f"the key {key} is encrypted; give it without a passphrase")
