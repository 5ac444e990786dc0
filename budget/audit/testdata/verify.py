"""Checks a bundle of "keel audit prove" with nothing of Keel: Python 3 and its standard library.

    python3 verify.py bundle.json PUBLIC-KEY

The public key is a line like keel.example.com/audit+1a2b3c4d+AbCd... Prints what was proved; exits with 1 when
something does not hold. docs/audit.md explains every step.
"""
import base64
import hashlib
import json
import struct
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Ed25519 as RFC 8032 writes it down (section 6), verification alone.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point(b):
    y = int.from_bytes(b, "little")
    x = recover(y & (1 << 255) - 1, y >> 255)
    return None if x is None else (x, y & (1 << 255) - 1, 1, x * (y & (1 << 255) - 1) % P)


def add(a, b):
    A, B = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    C, E = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    return (B - A) * (E - C) % P, (E + C) * (B + A) % P, (E - C) * (E + C) % P, (B - A) * (B + A) % P


def times(n, a):
    sum = (0, 1, 1, 0)
    while n:
        if n & 1:
            sum = add(sum, a)
        a, n = add(a, a), n >> 1
    return sum


GY = 4 * pow(5, P - 2, P) % P
G = (recover(GY, 0), GY, 1, recover(GY, 0) * GY % P)


def signed_by(public, message, signature):
    a, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left, right = times(s, G), add(r, times(h, a))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


def checkpoint(note, key):
    """The size and root of a signed note, when the key signed it."""
    name, hash, data = key.split("+", 2)
    data = base64.b64decode(data)
    assert data[0] == 1 and len(data) == 33, "not an Ed25519 key"
    assert sha256(name.encode() + b"\n" + data)[:4].hex() == hash, "the key is not whole"
    text, signatures = note.split("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        _, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if signer == name and signature[:4].hex() == hash:
            assert signed_by(data[1:], text.encode(), signature[4:]), "the signature is wrong"
            break
    else:
        raise AssertionError("the key has not signed it")
    origin, size, root = text.splitlines()[:3]
    assert origin == name
    return int(size), base64.b64decode(root)


def fields(leaf):
    """The canonical form: length, name, length, value, and again."""
    out = []
    while leaf:
        pair = []
        for _ in range(2):
            n = struct.unpack(">I", leaf[:4])[0]
            assert len(leaf) >= 4 + n
            pair.append(leaf[4 : 4 + n].decode())
            leaf = leaf[4 + n :]
        out.append(pair)
    return out


def included(leaf, index, size, proof, root):
    """RFC 9162, 2.1.3.2."""
    assert 0 <= index < size
    n, last, hash = index, size - 1, sha256(b"\x00", sha256(leaf))
    for p in proof:
        assert last > 0
        if n & 1 or n == last:
            hash = sha256(b"\x01", p, hash)
            while not n & 1 and n:
                n, last = n >> 1, last >> 1
        else:
            hash = sha256(b"\x01", hash, p)
        n, last = n >> 1, last >> 1
    return last == 0 and hash == root


def commitment(org, label, value, salt):
    text = b"".join(struct.pack(">I", len(s.encode())) + s.encode() for s in (org, label, value))
    return "~" + sha256(b"keel label\n", text, salt).hex()


def main():
    with open(sys.argv[1]) as f:
        bundle = json.load(f)
    assert bundle["format"] == "keel-proof/1"
    size, root = checkpoint(bundle["checkpoint"], sys.argv[2].strip())
    labels = {}
    for l in bundle["labels"]:
        assert commitment(l["org"], l["label"], l["value"], bytes.fromhex(l["salt"])) == l["commitment"], "a label"
        labels[l["commitment"]] = l["value"]
    assert bundle["records"], "no records"
    for record in bundle["records"]:
        leaf = base64.b64decode(record["leaf"])
        first, rest = fields(leaf)[0], fields(leaf)[1:]
        assert first == ["leaf", "keel.%s/1" % record["kind"]] and rest == record["fields"], "the fields are not those of the leaf"
        proof = [base64.b64decode(p) for p in record["proof"]]
        assert included(leaf, record["index"], size, proof, root), "leaf %d is not in the log" % record["index"]
        print("%s %s is leaf %d of %d" % (record["kind"], record["id"], record["index"], size))
        for name, value in rest:
            if name in ("cost_n", "subject"):
                for c, v in labels.items():
                    value = value.replace(c, v)
                print("  %s: %s" % (name, value))


try:
    main()
except (AssertionError, KeyError, ValueError, IndexError) as e:
    print("it does not hold: %s" % e, file=sys.stderr)
    sys.exit(1)
