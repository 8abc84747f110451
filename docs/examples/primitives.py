"""What an app takes from libraries: Protocol Buffers, and the group ristretto255 (libsodium has it).

Python's integers do not take constant time: use this to learn and to test, not in an app.
"""


# --- Protocol Buffers: a message is a list of (field, value); a decoded one is a dictionary of lists.

def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def message(*fields):
    out = b""
    for field, value in fields:
        if isinstance(value, int):
            out += varint(field << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(field << 3 | 2) + varint(len(value)) + value
    return out


def parse(data):
    fields, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            value, at, shift = value | (data[at] & 127) << shift, at + 1, shift + 7
            if data[at - 1] < 128:
                return value

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        fields.setdefault(key >> 3, []).append(value)
    return fields


def first(fields, field, default=0):
    return fields.get(field, [default])[0]


# --- ristretto255 (RFC 9496), with points as (x, y, z, t).

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of −1


def magnitude(x):
    return -x % P if x % P & 1 else x % P


def root_of_ratio(u, v):  # section 4.2
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in (-u % P, -u * ROOT % P):
        r = r * ROOT % P
    return check in (u % P, -u % P), magnitude(r)


def add(a, b):
    e, h = (a[1] + a[0]) * (b[1] + b[0]), (a[1] - a[0]) * (b[1] - b[0])
    c, d = 2 * D * a[3] * b[3], 2 * a[2] * b[2]
    e, f, g, h = e - h, d - c, d + c, e + h
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        result = add(result, point) if bit == "1" else result
    return result


def decode_point(data):  # section 4.3.1
    s = int.from_bytes(data, "little")
    u1, u2 = 1 - s * s, 1 + s * s
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inverse = root_of_ratio(1, v * u2 * u2 % P)
    x, y = magnitude(2 * s * inverse * u2), u1 * inverse * inverse * u2 * v % P
    if len(data) != 32 or s >= P or s & 1 or not square or x * y % P & 1 or y == 0:
        raise ValueError("not the encoding of a point")
    return x, y, 1, x * y % P


def encode_point(point):  # section 4.3.2
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y), x * y
    _, inverse = root_of_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inverse * u1, inverse * u2
    z_inverse, den = den1 * den2 * t % P, den2
    if t * z_inverse % P & 1:
        x, y, den = y * ROOT, x * ROOT, den1 * root_of_ratio(1, (-1 - D) % P)[1]
    y = -y if x * z_inverse % P & 1 else y
    return magnitude(den * (z - y)).to_bytes(32, "little")


def point_from(uniform):  # section 4.3.4
    def to_curve(data):
        t = (int.from_bytes(data, "little") & 2**255 - 1) % P
        r = ROOT * t * t % P
        u, v = (r + 1) * (1 - D * D) % P, (-1 - r * D) * (r + D) % P
        square, s = root_of_ratio(u, v)
        s, c = (s, -1) if square else (-magnitude(s * t), r)
        w0, w2, w3 = 2 * s * v, 1 - s * s, 1 + s * s
        w1 = -(c * (r - 1) * (D - 1) ** 2 - v) * root_of_ratio((-D - 1) % P, 1)[1]
        return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P
    return add(to_curve(uniform[:32]), to_curve(uniform[32:]))
