"""Varnish as Debian ships it: two pools of threads, an answer kept in memory."""

from proxies.process import WORKERS, Proxy


class Varnish(Proxy):
    """Its own VCL and no more; it compiles it with `cc`."""

    NAME = "Varnish"

    def write(self):
        (self.folder / "default.vcl").write_text(
            f'vcl 4.1;\nbackend mock {{ .host = "127.0.0.1"; .port = "{self.upstream.http1}"; }}\n'
        )

    def command(self):
        command = [self.tools.varnish, "-F", "-j", "none", "-a", f"127.0.0.1:{self.port}", "-n", str(self.folder / "work")]
        return [*command, "-f", str(self.folder / "default.vcl"), "-s", "malloc,64m", "-p", f"thread_pools={WORKERS}"]
