use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::*;

fn fixture(name: &str) -> CertificateDer<'static> {
    let path = format!("{}/tests/fixtures/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    CertificateDer::from_pem_file(path).unwrap()
}

#[test]
fn subject_and_validity_are_parsed() {
    let read = Certificate::read(&fixture("server")).unwrap();
    // The times are 2020-01-01 and 2120-01-01.
    let expected =
        Certificate { subject: "localhost".to_owned(), not_before: 1_577_836_800_000, not_after: 4_733_510_400_000 };
    assert_eq!(read, expected);
    assert_eq!(Certificate::read(&fixture("client")).unwrap().subject, "a client");
}

#[test]
fn truncated_or_damaged_certificates_do_not_panic() {
    let whole = fixture("server");
    for end in 0..whole.len() {
        assert_eq!(Certificate::read(&whole[..end]), None, "{end}");
    }
    for at in 0..whole.len() {
        for value in [0, 0x7f, 0x80, 0x84, 0xff] {
            let mut damaged = whole.to_vec();
            damaged[at] = value;
            let _ = Certificate::read(&damaged);
        }
    }
}
