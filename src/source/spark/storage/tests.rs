use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use tempfile::TempDir;

use super::*;

fn open(url: &str, token: &str) -> Storage {
    let s3 = S3Access { endpoint: "", region: "", credentials: None };
    Storage::open(&Address::parse(url).unwrap(), s3, token, RequestLimit::new(1_000_000)).unwrap()
}

/// A server that replies to each connection in turn, and its address.
fn stub(replies: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for reply in replies {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).unwrap();
            // The client may close the connection in the middle of a long reply.
            let _ = connection.write_all(&reply);
        }
    });
    address
}

fn reply(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn exception(name: &str, message: &str) -> String {
    format!(r#"{{"RemoteException":{{"exception":"{name}","javaClassName":"x.{name}","message":"{message}"}}}}"#)
}

#[tokio::test]
async fn a_local_folder_is_read_within_bounds() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap().trim_start_matches('/').to_owned();
    let (storage, in_folder) = (open("file:///x", ""), |name: &str| format!("{path}/{name}"));
    fs::write(folder.path().join("file"), "text").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let long = fs::File::create(folder.path().join("long")).unwrap();
    long.set_len(MAX_FILE_BYTES + 1).unwrap();
    assert_eq!(storage.read(&in_folder("file")).await, Ok(Some(b"text".to_vec())));
    assert_eq!(storage.read(&in_folder("file/below")).await, Ok(None));
    assert_eq!(storage.read(&in_folder("folder")).await, Ok(None));
    let error = storage.read(&in_folder("long")).await.unwrap_err().to_string();
    assert_eq!(error, format!("file:///{path}/long: more than {MAX_FILE_BYTES} bytes"));
    assert!(matches!(storage.read(&in_folder(&"x".repeat(300))).await, Err(StorageError::Unusable { .. })));
    assert_eq!(storage.exists(&in_folder("file")).await, Ok(true));
    assert_eq!(storage.list(&in_folder("nowhere")).await, Ok(None));
    let mut names: Vec<_> =
        storage.list(&path).await.unwrap().unwrap().into_iter().map(|entry| (entry.name, entry.is_folder)).collect();
    names.sort();
    assert_eq!(names, [("file".to_owned(), false), ("folder".to_owned(), true), ("long".to_owned(), false)]);
    for number in 0..=MAX_ENTRIES {
        fs::write(folder.path().join("folder").join(number.to_string()), "").unwrap();
    }
    let error = storage.list(&in_folder("folder")).await.unwrap_err().to_string();
    assert_eq!(error, format!("file:///{path}/folder: more than {MAX_ENTRIES} entries"));
}

#[tokio::test]
async fn the_active_namenode_is_found_and_asked_first() {
    let standby = stub(vec![reply("403 Forbidden", &exception("StandbyException", "not active"))]);
    let missing = || reply("404 Not Found", &exception("FileNotFoundException", "no /x"));
    let active = stub(vec![missing(), missing()]);
    let storage = open(&format!("webhdfs://{standby},{active}/x"), "");
    assert_eq!(storage.exists("x").await, Ok(false));
    // The standby has replied once and does not accept connections any more.
    assert_eq!(storage.exists("x").await, Ok(false));
}

#[tokio::test]
async fn refusals_and_strange_replies_of_webhdfs_name_the_place_and_no_secret() {
    let endless = [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(), vec![b'x'; 9 << 20]].concat();
    for (reply, reason) in [
        (
            reply("403 Forbidden", &exception("AccessControlException", "Permission denied: user=etl\\nat line")),
            "access to webhdfs://NODE/cp/metadata is denied (403 Forbidden AccessControlException: Permission denied: user=etl);",
        ),
        (reply("401 Unauthorized", "<html>"), "is denied (401 Unauthorized : );"),
        (
            reply("503 Service Unavailable", &exception("RetriableException", "safe mode")),
            "RetriableException: safe mode",
        ),
        (reply("404 Not Found", "no such page"), "cannot read webhdfs://NODE/cp/metadata: 404 Not Found : "),
        (endless, "more than 4194304 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec(), "cannot read webhdfs://NODE/cp/metadata: "),
        (b"\xff\xfe".to_vec(), "cannot read webhdfs://NODE/cp/metadata: "),
    ] {
        let node = stub(vec![reply]);
        let error = open(&format!("webhdfs://{node}/cp"), "hunter2").read("cp/metadata").await.unwrap_err().to_string();
        assert!(error.replace(&node, "NODE").contains(reason), "{reason}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let node = stub(vec![reply("200 OK", r#"{"DirectoryListing":[]}"#)]);
    let error = open(&format!("webhdfs://{node}/cp"), "hunter2").list("cp").await.unwrap_err().to_string();
    assert!(error.contains("unexpected reply of WebHDFS"), "{error}");
}
