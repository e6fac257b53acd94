"""read.py WAY FILE...: reads files in one of many ways and says what it saw."""
import hashlib, io, mmap, os, shutil, socket, sys, tarfile, zipfile

out = os.environ["O"]


def say(name, content, *more):
    print(name, len(content), hashlib.sha256(content).hexdigest()[:16], *more)


def read(name):
    with open(name, "rb") as f:
        say(name, f.read(), f.read())
    with open(name, encoding="utf-8") as f:
        print(f.read())
    with open(name, "rb", buffering=0) as f:
        say(name, f.read(), f.tell())


def readinto(name):
    with open(name, "rb", buffering=0) as f:
        buf = bytearray(os.fstat(f.fileno()).st_size)
        n = f.readinto(buf)
        say(name, buf, n, f.readinto(buf))


def os_read(name):
    fd = os.open(name, os.O_RDONLY)
    say(name, os.read(fd, os.stat(name).st_size), os.read(fd, 1))
    os.close(fd)


def pread(name):
    fd = os.open(name, os.O_RDONLY)
    say(name, os.pread(fd, 100, 4090), os.pread(fd, 100, 6140), os.pread(fd, 100, 10000))
    bufs = [bytearray(10), bytearray(5000), bytearray(5000)]
    print(os.preadv(fd, bufs, 3))
    for b in bufs:
        say(name, b)
    os.close(fd)


def seek(name):
    with open(name, "rb") as f:
        print(f.seek(0, io.SEEK_END), f.tell(), f.read())
        print(f.seek(-5, io.SEEK_END), f.read(), f.seek(3), f.read(4), f.seek(100000), f.read(1))


def lines(name):
    with open(name, newline="") as f:
        print(sum(1 for _ in f), f.tell() if name != "crlf" else "")
    with open(name) as f:
        print(f.readlines()[-1:])


def maps(name, **how):
    with open(name, "rb") as f, mmap.mmap(f.fileno(), 0, **how) as m:
        say(name, m[:], m.size(), m.find(b"1"), m[-3:])


def mmap_private(name):
    maps(name, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    maps(name, access=mmap.ACCESS_COPY)


def mmap_shared(name):
    maps(name, access=mmap.ACCESS_READ)
    maps(name, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)


def shutil_(name):
    to = os.path.join(out, name)
    shutil.copyfile(name, to + ".copyfile")
    shutil.copy(name, to + ".copy")
    shutil.copy2(name, to + ".copy2")
    with open(name, "rb") as f, open(to + ".copyfileobj", "wb") as g:
        shutil.copyfileobj(f, g)


def tar(name):
    with tarfile.open(os.path.join(out, name + ".tar"), "w") as t:
        t.add(name)
    with tarfile.open(os.path.join(out, name + ".tar")) as t:
        say(name, t.extractfile(name).read(), t.getmember(name).size)


def zip_(name):
    with zipfile.ZipFile(os.path.join(out, name + ".zip"), "w", zipfile.ZIP_DEFLATED) as z:
        z.write(name)
    with zipfile.ZipFile(os.path.join(out, name + ".zip")) as z:
        say(name, z.read(name), z.testzip())


def sendfile_pipe(name):
    r, w = os.pipe()
    with open(name, "rb") as f:
        n = os.sendfile(w, f.fileno(), 0, 1 << 16)
        rest = os.sendfile(w, f.fileno(), n, 1 << 16)
    os.close(w)
    with open(r, "rb") as p:
        say(name, p.read(), n, rest)


def sendfile_socket(name):
    a, b = socket.socketpair()
    with a, b:
        with open(name, "rb") as f:
            n = a.sendfile(f)
        a.shutdown(socket.SHUT_WR)
        say(name, b.makefile("rb").read(), n)


ways = {"shutil": shutil_, "zip": zip_}
for name in sys.argv[2:]:
    (ways.get(sys.argv[1]) or globals()[sys.argv[1]])(name)
