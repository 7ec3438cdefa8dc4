"""An RTSP camera for tests: `python3 rtsp_server.py h264|h265|mjpg [USER PASSWORD]` prints its port."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph265pay name=pay0 pt=96",
    "mjpg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}
# With sound, as cameras have it: the receiver has to pick the picture.
LAUNCH = (
    "( videotestsrc is-live=true pattern=red ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! {} "
    "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 pt=8 )"
)
LIFETIME_S = 60


def restrict(server, factory, user, password):
    auth, token = GstRtspServer.RTSPAuth.new(), GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions.new()
    for action in ("access", "construct"):
        permissions.add_permission_for_role("user", "media.factory." + action, True)
    factory.set_permissions(permissions)


def main(encoding, *login):
    Gst.init_check(None)
    server, factory = GstRtspServer.RTSPServer.new(), GstRtspServer.RTSPMediaFactory.new()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory.set_launch(LAUNCH.format(ENCODERS[encoding]))
    if login:
        restrict(server, factory, *login)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.timeout_add_seconds(LIFETIME_S, sys.exit)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
