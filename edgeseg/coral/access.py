"""Whether this user may open the device file of an Edge TPU, and which process has it. One TPU serves one process."""

import errno
import glob
import grp
import os
import pwd
from typing import NamedTuple, Optional, Tuple

from edgeseg.device.files import find_paths, read_text, read_under
from edgeseg.errors import EnvironmentFault

# As in debian/edgetpu-accelerator.rules of libedgetpu and debian/gasket-dkms.udev of google/gasket-driver.
_RULES = {
    "plugdev": (
        'SUBSYSTEM=="usb",ATTRS{idVendor}=="1a6e",ATTRS{idProduct}=="089a",GROUP="plugdev",MODE="0664"',
        'SUBSYSTEM=="usb",ATTRS{idVendor}=="18d1",ATTRS{idProduct}=="9302",GROUP="plugdev",MODE="0664"',
    ),
    "apex": ('SUBSYSTEM=="apex",GROUP="apex",MODE="0660"',),
}
_RULE_FOLDERS = ("etc", "run", "usr/lib", "lib")
_RULE_FILE = "/etc/udev/rules.d/99-edgetpu.rules"
_RELOAD = "sudo udevadm control --reload-rules && sudo udevadm trigger"
CONTAINER_USB = (
    "pass the whole bus to a container: docker run -v /dev/bus/usb:/dev/bus/usb --device-cgroup-rule 'c 189:* rmw'; "
    "to LXC or a virtual machine both 1a6e:089a and 18d1:9302: the TPU changes from the first to the second when it "
    "gets its firmware"
)
CONTAINER_PCI = "pass it to the container: docker run --device {}"
_COMMAND_LENGTH = 60


class Holder(NamedTuple):
    """A process that has a device file open."""

    pid: int
    command: str


def why_closed(what: str, node: str, claimed: bool, root: str = "/") -> Optional[EnvironmentFault]:
    """Why an Edge TPU cannot be opened; None if it can.

    Args:
        what: what to call it: "the Edge TPU on USB 1-2".
        node: its device file: "/dev/bus/usb/001/004", "/dev/apex_0".
        claimed: whether the kernel says that a process uses it.
        root: the folder that stands for "/".
    """
    path = os.path.join(root, node.lstrip("/"))
    container = CONTAINER_PCI.format(node) if _is_pci(node) else CONTAINER_USB
    problem = _open_error(path)
    if problem == errno.ENOENT:
        return EnvironmentFault("{} is there, but its device file {} is not".format(what, node), container)
    if problem == errno.EACCES:
        return _no_permission(what, node, root)
    if problem == errno.EPERM:
        return EnvironmentFault("{} may not be opened from this container ({})".format(what, node), container)
    if problem:
        return EnvironmentFault(
            "{} does not answer: {}: {}".format(what, node, os.strerror(problem)),
            "unplug it and plug it in again (PCIe: reboot)",
        )
    return _in_use(what, node, root) if claimed else None


def find_holders(node: str, root: str = "/") -> Tuple[Holder, ...]:
    """Processes that have a device file open: as root all of them, else those of this user."""
    pids = set()
    for link in glob.glob(os.path.join(glob.escape(root), "proc/[0-9]*/fd/*")):
        try:
            if os.readlink(link) == node:
                pids.add(int(link.split(os.sep)[-3]))
        except OSError:  # it has ended, or is another user's
            continue
    return tuple(Holder(pid, _command(pid, root)) for pid in sorted(pids))


def _is_pci(node: str) -> bool:
    return node.startswith("/dev/apex")


def _open_error(path: str) -> int:
    """errno, 0 if all is well. The file is opened for reading only: for writing would take a PCIe TPU from others."""
    if not os.path.exists(path):
        return errno.ENOENT
    if not os.access(path, os.R_OK | os.W_OK):
        return errno.EACCES
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:  # EPERM: the container's rules for devices
        return error.errno or errno.EIO
    return 0


def _no_permission(what: str, node: str, root: str) -> EnvironmentFault:
    number = os.stat(os.path.join(root, node.lstrip("/"))).st_gid
    message = "{} may not be opened by this user: {} belongs to ".format(what, node)
    if number == 0:
        return EnvironmentFault(message + "root", _give_group("apex" if _is_pci(node) else "plugdev", root))
    try:
        group = grp.getgrgid(number)
    except KeyError:  # of the host, in a container
        fix = "pass the group to the container: docker run --group-add {}".format(number)
        return EnvironmentFault(message + "group {}, which has no name here".format(number), fix)
    if _user() in group.gr_mem:
        fix = "log in again: this session began before the user was added to group {}".format(group.gr_name)
    else:
        fix = "sudo usermod -aG {} $USER, then log in again".format(group.gr_name)
    return EnvironmentFault(message + "group " + group.gr_name, fix)


def _give_group(group: str, root: str) -> str:
    rules = _RULES[group]
    key = 'SUBSYSTEM=="apex"' if group == "apex" else "9302"
    files = [path for folder in _RULE_FOLDERS for path in find_paths(root, folder + "/udev/rules.d/*.rules")]
    if any(key in (read_text(path) or "") for path in files):
        return "its udev rule has not been applied: {}; or plug it in again".format(_RELOAD)
    return " && ".join(
        (
            "sudo groupadd -f {}".format(group),
            "printf '%s\\n' {} | sudo tee {}".format(" ".join("'{}'".format(rule) for rule in rules), _RULE_FILE),
            _RELOAD,
            "sudo usermod -aG {} $USER, then log in again".format(group),
        )
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return ""


def _in_use(what: str, node: str, root: str) -> EnvironmentFault:
    holders = find_holders(node, root)
    one = "; an Edge TPU serves one process at a time"
    if not holders:
        return EnvironmentFault(
            "{} is in use by a process of another user or container{}".format(what, one),
            "sudo fuser -v {} shows which; end it, or use another TPU".format(node),
        )
    names = ["{} (pid {})".format(holder.command, holder.pid) for holder in holders]
    if any(holder.pid == os.getpid() for holder in holders):
        return EnvironmentFault(
            "{} is in use by this program itself{}".format(what, one),
            "let the program open it once: close what else uses it (pycoral, another interpreter)",
        )
    return EnvironmentFault(
        "{} is in use by {}{}".format(what, ", ".join(names), one),
        "end it (kill {}), or use another TPU".format(" ".join(str(holder.pid) for holder in holders)),
    )


def _command(pid: int, root: str) -> str:
    folder = "proc/{}/".format(pid)
    words = read_under(root, folder + "cmdline").replace("\0", " ")
    return words[:_COMMAND_LENGTH] or read_under(root, folder + "comm") or "a process"
