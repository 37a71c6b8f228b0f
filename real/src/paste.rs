//! Lines to paste: a word of a command line as a shell reads it back, whatever is in it. A line says which file it
//! is about, and people's files have names with spaces, quotes and worse.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One word for a POSIX shell, on one line.
pub fn word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    let plain = word.to_str().filter(|text| !text.contains(char::is_control));
    match plain.and_then(|text| shlex::try_quote(text).ok()) {
        Some(quoted) => quoted.into_owned(),
        None => by_number(word.as_bytes()),
    }
}

/// A path as a word. One that begins with a dash is no option.
pub fn path(path: &Path) -> String {
    let is_like_an_option = path.as_os_str().as_bytes().starts_with(b"-");
    if is_like_an_option { word(Path::new(".").join(path)) } else { word(path) }
}

/// What no terminal can take as it is, bytes that are no text and line feeds, made by `printf`. A shell drops the line
/// feeds at the end of what a command prints, so a name that ends with one is put in quotes, over two lines.
fn by_number(bytes: &[u8]) -> String {
    if let (Some(b'\n'), Ok(text)) = (bytes.last(), std::str::from_utf8(bytes)) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut octal = String::new();
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'/' | b'_' | b'-' | b' ' => {
                octal.push(byte.into())
            }
            byte => octal.push_str(&format!("\\0{byte:03o}")),
        }
    }
    format!("\"$(printf '%b' '{octal}')\"")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::process::Command;

    /// What a shell makes of a word.
    fn read_back(line: &str) -> Vec<u8> {
        let said = Command::new("sh").arg("-c").arg(format!("printf '[%s]' {line}")).output();
        said.expect("there is a shell").stdout
    }

    #[test]
    fn a_shell_reads_every_word_as_it_was() {
        let words: [&[u8]; 18] = [
            b"plain",
            b"",
            b"two words",
            b"it's",
            b"\"so\"",
            b"$HOME and `id` and $(id)",
            b"a\\b",
            b"!history",
            b"~root",
            b"*?[a]",
            b"a;b|c&d>e<f#g",
            b"two\nlines",
            b"two\nlines and 'quotes' $x \\n %d %s\n",
            b"\t\r\x1b[31m",
            b"\xff\xfe not text",
            b"-n 100%",
            "bücher".as_bytes(),
            b"\x017 digits after",
        ];
        for word in words {
            let quoted = super::word(OsStr::from_bytes(word));
            let expected = [b"[", word, b"]"].concat();
            assert_eq!(read_back(&quoted), expected, "{quoted}");
            assert!(word.ends_with(b"\n") || !quoted.contains(char::is_control), "{quoted}");
        }
        assert_eq!(super::word("coalmine-out/rollout-chaos-7.toml"), "coalmine-out/rollout-chaos-7.toml");
        assert_eq!(super::path(Path::new("-v.toml")), "./-v.toml");
    }
}
