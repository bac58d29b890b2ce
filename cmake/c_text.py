"""Text as C, for what the build puts into a binary."""


def c_string(text):
    """A string literal, on lines of its own."""
    data = text.encode("utf-8")
    lines = []
    for start in range(0, len(data), 100):
        part = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'\\"?' else f"\\{byte:03o}"
                       for byte in data[start:start + 100])
        lines.append(f'    "{part}"')
    return "\n".join(lines)


def c_text(name, text):
    """A constant NAME and its NAME_length."""
    return f"const char {name}[] =\n{c_string(text)};\nconst size_t {name}_length = sizeof({name}) - 1;\n"
