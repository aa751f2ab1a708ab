//! Archives: gzipped tar files of a few small files. Written and read here, so that nothing
//! but regular files with plain names beneath their folder ever comes out of one.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::fault::{Done, Fault};

/// A record of a tar file.
const BLOCK: usize = 512;
/// Bytes of all files of an archive together.
const MOST: usize = 64 << 20;
/// Entries of an archive.
const ENTRIES: usize = 20_000;

/// A file: its path in the archive, and what is in it.
pub(super) type File = (String, Vec<u8>);

/// Packs files. Paths are ours, and short.
pub(super) fn pack(files: &[File], at: i64) -> Done<Vec<u8>> {
    let failed =
        |error: std::io::Error| Fault::new(500, format!("the archive was not written: {error}"));
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    for (path, content) in files {
        let header = header(path, content.len(), at)?;
        out.write_all(&header).map_err(failed)?;
        out.write_all(content).map_err(failed)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        out.write_all(&[0; BLOCK][..rest]).map_err(failed)?;
    }
    out.write_all(&[0; 2 * BLOCK]).map_err(failed)?;
    out.finish().map_err(failed)
}

fn header(path: &str, length: usize, at: i64) -> Done<[u8; BLOCK]> {
    // Names of 60 characters and a folder or two.
    let (prefix, name) = match path.len() {
        0..=100 => ("", path),
        _ => path.rsplit_once('/').unwrap_or(("", path)),
    };
    if name.len() > 100 || prefix.len() > 155 {
        return Err(Fault::new(500, format!("the path {path:?} does not fit into an archive")));
    }
    let mut block = [0; BLOCK];
    let mut put = |from: usize, text: &str| {
        block[from..from + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{length:011o}\0"));
    put(136, &format!("{:011o}\0", at.max(0)));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    put(345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// Unpacks the regular files of an archive. One that has anything beside files and folders,
/// or a path that could leave its folder, is refused as a whole.
pub(super) fn unpack(packed: &[u8]) -> Done<Vec<File>> {
    let mut bytes = Vec::new();
    let mut limited = GzDecoder::new(packed).take(MOST as u64 + 1);
    if limited.read_to_end(&mut bytes).is_err() {
        return Err(Fault::new(400, "Invalid archive: not a gzipped tar file"));
    }
    if bytes.len() > MOST {
        return Err(Fault::new(413, "The archive unpacks to more than 64 MiB"));
    }
    let mut files = Vec::new();
    let mut rest = bytes.as_slice();
    let mut longer: Option<String> = None;
    for _ in 0..ENTRIES {
        let Some((header, after)) = rest.split_at_checked(BLOCK) else { break };
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        check_sum(header)?;
        let length = octal(&header[124..136]).ok_or_else(invalid)?;
        let whole = length.checked_next_multiple_of(BLOCK).ok_or_else(invalid)?;
        let (content, next) = after.split_at_checked(whole).ok_or_else(invalid)?;
        let content = &content[..length];
        rest = next;
        match header[156] {
            // Names and attributes that do not fit into a header stand before it.
            b'L' => longer = Some(text(content)?),
            b'x' => longer = pax_path(content)?.or(longer),
            b'g' => {}
            b'5' => {
                path(header, longer.take())?;
            }
            b'0' | 0 => {
                let path = path(header, longer.take())?;
                files.push((path, content.to_vec()));
            }
            _ => return Err(unsafe_path()),
        }
    }
    match rest.is_empty() {
        true => Ok(files),
        false => Err(invalid()),
    }
}

fn invalid() -> Fault {
    Fault::new(400, "Invalid archive: it is cut off, or not a tar file")
}

fn unsafe_path() -> Fault {
    Fault::new(400, "Archive contains unsafe paths")
}

fn check_sum(header: &[u8]) -> Done<()> {
    let said = octal(&header[148..156]).ok_or_else(invalid)?;
    let blank = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
    let sum: usize = header.iter().enumerate().map(|(at, b)| usize::from(blank(at, *b))).sum();
    if said == sum { Ok(()) } else { Err(invalid()) }
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    usize::from_str_radix(text, 8).ok()
}

fn text(bytes: &[u8]) -> Done<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).map(str::to_owned).map_err(|_| unsafe_path())
}

/// The path among extended attributes: lines of `LENGTH KEY=VALUE`.
fn pax_path(content: &[u8]) -> Done<Option<String>> {
    let content = std::str::from_utf8(content).map_err(|_| unsafe_path())?;
    let mut paths =
        content.lines().filter_map(|line| line.split_once(' ')?.1.strip_prefix("path="));
    Ok(paths.next_back().map(str::to_owned))
}

/// The path of an entry, if it stays beneath where it is unpacked.
fn path(header: &[u8], longer: Option<String>) -> Done<String> {
    let whole = match longer {
        Some(path) => path,
        None => {
            let (prefix, name) = (text(&header[345..500])?, text(&header[..100])?);
            let ustar = &header[257..262] == b"ustar" && !prefix.is_empty();
            if ustar { format!("{prefix}/{name}") } else { name }
        }
    };
    let plain = whole.strip_prefix("./").unwrap_or(&whole).trim_end_matches('/');
    let bad = |part: &str| part == ".." || part.contains(['\\', '\0']);
    if whole.starts_with('/') || plain.split('/').any(bad) {
        return Err(unsafe_path());
    }
    Ok(plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(path: &str) -> Vec<u8> {
        pack(&[(path.to_owned(), b"content".to_vec())], 1).expect("packed")
    }

    #[test]
    fn what_is_packed_unpacks() {
        let long = format!("{}/{}", "d".repeat(60), "f".repeat(60));
        let files: Vec<File> = vec![
            ("agents/a/agent.json".into(), b"{}".to_vec()),
            (long, vec![7; 1500]),
            ("empty".into(), Vec::new()),
        ];
        assert_eq!(unpack(&pack(&files, 0).expect("packed")).expect("unpacked"), files);
    }

    #[test]
    fn nothing_leaves_its_folder() {
        for bad in ["../x", "/etc/passwd", "a/../../x", "a/..", "./../x", "a\\..\\x"] {
            assert!(unpack(&one(bad)).is_err(), "{bad}");
        }
        assert_eq!(unpack(&one("./a/b")).expect("unpacked")[0].0, "a/b");
        // A link, a device, a fifo.
        for kind in [b'1', b'2', b'3', b'4', b'6'] {
            let mut block = header("agents/x", 0, 0).expect("a header");
            block[156] = kind;
            block[148..156].copy_from_slice(b"        ");
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let mut out = GzEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&block).and_then(|()| out.write_all(&[0; 1024])).expect("written");
            assert!(unpack(&out.finish().expect("packed")).is_err(), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = unpack(&bytes);
            let mut out = GzEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&bytes).expect("written");
            let _ = unpack(&out.finish().expect("packed"));
        }

        #[test]
        fn a_broken_archive_is_refused_or_stays_inside(at in 0usize..2000, byte in any::<u8>()) {
            let mut tar = Vec::new();
            GzDecoder::new(one("agents/a/agent.json").as_slice()).read_to_end(&mut tar).expect("read");
            let at = at % tar.len();
            tar[at] = byte;
            let mut out = GzEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&tar).expect("written");
            for (path, _) in unpack(&out.finish().expect("packed")).unwrap_or_default() {
                prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
            }
        }
    }
}
