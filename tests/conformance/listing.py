"""Prints what is in an image: its layers' folders (topmost first) laid over each other, one line a path.

Run in a mount namespace of its own. A file's time is shown only when it is older than SINCE (seconds): what a build
itself wrote has the time of that build. A folder's time is not compared: BuildKit lets it change with what is put in.
"""
import hashlib
import os
import stat
import subprocess
import sys
import tempfile

since = float(sys.argv[1])
# An equal layer further down adds nothing, and overlayfs refuses it.
layers = list(dict.fromkeys(sys.argv[2:]))
place = tempfile.mkdtemp()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
os.chdir(place)
os.makedirs("root")
os.makedirs("bottom")
for number, layer in enumerate(layers):
    os.symlink(layer, str(number))
lowers = ":".join([str(number) for number in range(len(layers))] + ["bottom"])
subprocess.run(["mount", "-t", "overlay", "-o", f"ro,lowerdir={lowers}", "overlay", "root"], check=True)
os.chdir("root")

first_names = {}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def line(path):
    info = os.lstat(path)
    kind = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFCHR: "char",
            stat.S_IFBLK: "block", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}[stat.S_IFMT(info.st_mode)]
    parts = [path, kind, f"{stat.S_IMODE(info.st_mode):04o}", f"{info.st_uid}:{info.st_gid}"]
    if kind == "file":
        parts += [str(info.st_size), digest(path)]
    if kind == "link":
        parts.append("-> " + os.readlink(path))
    if kind in ("char", "block"):
        parts.append(f"{os.major(info.st_rdev)},{os.minor(info.st_rdev)}")
    if kind != "dir" and info.st_nlink > 1:
        first = first_names.setdefault(info.st_ino, path)
        if first != path:
            parts.append("= " + first)
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        parts.append(f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()}")
    if kind != "dir" and info.st_mtime < since:
        parts.append(f"@{info.st_mtime_ns / 1e9:.0f}")
    return " ".join(parts)


lines = []
for folder, folders, files in os.walk("."):
    folders.sort()
    lines += [line(os.path.join(folder, name)) for name in sorted(folders + files)]
# The order of a walk is not the order of paths.
print(line("."))
print("\n".join(sorted(lines)))
