"""A site's own certificate authority, for sites that know each other by it."""

import os
import subprocess

from contents import write_text
from outcomes import Failed, need


class SiteCa:
    """A certificate authority of a site, with the openssl program."""

    def __init__(self, context):
        need("openssl")
        self.context = context
        self.directory = context.path("ca")
        os.makedirs(self.directory, exist_ok=True)
        self.crl = None
        if os.path.exists(self.path("ca.pem")):
            return
        write_text(self.path("index.txt"), "")
        write_text(self.path("crlnumber"), "01\n")
        write_text(self.path("ca.cnf"), f"[ca]\ndefault_ca = site\n[site]\ndatabase = {self.path('index.txt')}\n"
                   f"crlnumber = {self.path('crlnumber')}\ndefault_md = sha256\ndefault_crl_days = 60\n")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                      self.path("ca.key"), "-out", self.path("ca.pem"), "-days", "400", "-subj", "/CN=site CA")

    def path(self, name):
        return os.path.join(self.directory, name)

    def _openssl(self, *words):
        done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"openssl {words[0]}: {done.stderr.strip()}")

    def certificate(self, name, names, days=90):
        """A new key and certificate NAME.pem, NAME.key for these subject alternative names."""
        write_text(self.path(name + ".ext"), f"subjectAltName = {','.join(names)}\n"
                   "extendedKeyUsage = serverAuth,clientAuth\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                      self.path(name + ".key.new"), "-out", self.path(name + ".csr"), "-subj", f"/CN={name}")
        self._openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path("ca.pem"), "-CAkey",
                      self.path("ca.key"), "-CAcreateserial", "-days", str(days), "-extfile", self.path(name + ".ext"),
                      "-out", self.path(name + ".pem.new"))
        os.rename(self.path(name + ".key.new"), self.path(name + ".key"))
        os.rename(self.path(name + ".pem.new"), self.path(name + ".pem"))

    def use_crl(self):
        """From the next configuration on; nobody is revoked yet."""
        self.crl = self.path("crl.pem")
        self._make_crl()

    def _make_crl(self):
        self._openssl("ca", "-config", self.path("ca.cnf"), "-gencrl", "-keyfile", self.path("ca.key"), "-cert",
                      self.path("ca.pem"), "-out", self.path("crl.new"))
        os.rename(self.path("crl.new"), self.path("crl.pem"))

    def revoke(self, name):
        self._openssl("ca", "-config", self.path("ca.cnf"), "-revoke", self.path(name + ".pem"), "-keyfile",
                      self.path("ca.key"), "-cert", self.path("ca.pem"))
        self._make_crl()

    def tls_lines(self, name, names):
        if not os.path.exists(self.path(name + ".pem")):
            self.certificate(name, names)
        return (f'[tls]\nca = "{self.path("ca.pem")}"\ncert = "{self.path(name + ".pem")}"\n'
                f'key = "{self.path(name + ".key")}"\n' + (f'crl = "{self.crl}"\n' if self.crl else ""))
