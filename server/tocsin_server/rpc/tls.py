"""TLS and mutual TLS from files, read again when they change: certificates are renewed without a restart."""

import threading
from pathlib import Path

import grpc
import structlog
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from tocsin_server.service.files import WatchedFiles

_log = structlog.get_logger(__name__)


class TlsUnusable(Exception):
    """Certificate, key or authorities cannot be used; the text says which file and why."""


def server_credentials(cert: Path, key: Path, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """Credentials of a certificate chain and its key; with authorities, callers need a certificate of theirs.

    The files are looked at in every handshake. Files that cannot be used leave in force what was: while a certificate
    and its key are being replaced, one after the other, they do not belong together. Raises TlsUnusable at the start.
    """
    files = _TlsFiles(cert, key, client_ca)
    return grpc.dynamic_ssl_server_credentials(
        files.load(),
        files.load_if_changed,  # type: ignore[arg-type]  # the stubs do not know that None means unchanged
        client_ca is not None,
    )


class _TlsFiles:
    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._files = WatchedFiles([path for path in (cert, key, client_ca) if path])
        self._files.changed()
        # Handshakes run on gRPC's own threads.
        self._lock = threading.Lock()

    def load(self) -> grpc.ServerCertificateConfiguration:
        """What is in the files. Raises TlsUnusable."""
        chain, key = _read(self._cert), _read(self._key)
        authorities = _read(self._client_ca) if self._client_ca else None
        try:
            leaf = load_pem_x509_certificates(chain)[0]
        except ValueError as error:
            raise TlsUnusable(f"{self._cert}: is not a certificate in PEM: {error}") from error
        try:
            private = load_pem_private_key(key, None)
        except (TypeError, ValueError) as error:  # TypeError: it is encrypted
            raise TlsUnusable(f"{self._key}: is not an unencrypted private key in PEM: {error}") from error
        if _encoded(private.public_key()) != _encoded(leaf.public_key()):
            raise TlsUnusable(f"{self._key}: is not the key of the certificate in {self._cert}")
        if authorities is not None:
            try:
                load_pem_x509_certificates(authorities)
            except ValueError as error:
                raise TlsUnusable(f"{self._client_ca}: holds no certificates in PEM: {error}") from error
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)

    def load_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What is in the files if they changed and can be used; None: go on as before."""
        with self._lock:
            if not self._files.changed():
                return None
            try:
                loaded = self.load()
            except TlsUnusable as error:
                _log.error("the certificate stays as it was", reason=str(error))
                return None
        _log.info("the certificate was read again", file=str(self._cert))
        return loaded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{path}: {error.strerror}") from error


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
