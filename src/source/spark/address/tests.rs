use super::*;

fn parse(url: &str) -> Result<Address, AddressError> {
    Address::parse(url)
}

#[test]
fn each_store_has_its_url() {
    let node = |text: &str| vec![text.to_owned()];
    for (url, location, root) in [
        ("file:///data/cp", Location::Local, "file://"),
        ("s3://lake/cp", Location::S3("lake".to_owned()), "s3://lake"),
        ("s3a://lake/cp", Location::S3("lake".to_owned()), "s3a://lake"),
        ("gs://lake/cp", Location::Gcs("lake".to_owned()), "gs://lake"),
        (
            "abfss://cp@lake.dfs.core.windows.net/cp",
            Location::Azure("abfss://cp@lake.dfs.core.windows.net".to_owned()),
            "abfss://cp@lake.dfs.core.windows.net",
        ),
        (
            "webhdfs://nn:9870/cp",
            Location::WebHdfs { tls: false, user: String::new(), nodes: node("nn:9870") },
            "webhdfs://nn:9870",
        ),
        (
            "swebhdfs://etl@a:1,[::1]:2/cp",
            Location::WebHdfs {
                tls: true,
                user: "etl".to_owned(),
                nodes: vec!["a:1".to_owned(), "[::1]:2".to_owned()],
            },
            "swebhdfs://etl@a:1,[::1]:2",
        ),
    ] {
        let address = parse(url).unwrap();
        assert_eq!((address.location, address.root.as_str()), (location, root), "{url}");
    }
}

#[test]
fn a_path_has_at_most_one_group() {
    let Folders::One(path) = parse("s3://lake//a/{{b}}/c/").unwrap().folders else { panic!("one checkpoint") };
    assert_eq!(path, "a/{b}/c");
    let Folders::Each { parent, name, below } = parse("file:///data/cp/job-{group}/state/x").unwrap().folders else {
        panic!("several checkpoints")
    };
    assert_eq!((parent.as_str(), name.prefix(), below.as_str()), ("data/cp", "job-", "state/x"));
    let Folders::Each { parent, below, .. } = parse("s3://lake/{group}").unwrap().folders else {
        panic!("several checkpoints")
    };
    assert_eq!((parent.as_str(), below.as_str()), ("", ""));
}

#[test]
fn the_template_is_that_of_the_checkpoints_urls() {
    let url = "s3://lake//cp/{group}/";
    let template = parse(url).unwrap().template(url).unwrap();
    assert_eq!(template.read("s3://lake/cp/billing", None).unwrap().group.as_deref(), Some("billing"));
    assert!(template.read("s3://lake/cp/a/b", None).is_err());
}

#[test]
fn an_invalid_url_says_what_to_write() {
    for (url, reason) in [
        ("/data/cp", "expected file:///PATH"),
        ("dbfs:/data", "expected file:///PATH"),
        ("ftp://host/data", "expected file:///PATH"),
        ("hdfs://nn:8020/cp/{group}", "\"webhdfs://nn:9870/cp/{group}\""),
        ("hdfs:///cp", "\"webhdfs://NAMENODE:9870/cp\""),
        ("webhdfs://etl:secret@nn:9870/cp", "a password in a URL"),
        ("webhdfs://nn/cp", "HOST:PORT"),
        ("webhdfs://nn:0/cp", "HOST:PORT"),
        ("webhdfs://nn:9870,/cp", "HOST:PORT"),
        ("file://host/cp", "file:///PATH"),
        ("s3:///cp", "the name of a bucket"),
        ("s3://{group}/cp", "the name of a bucket"),
        ("abfss://lake/cp", "CONTAINER@ACCOUNT"),
        ("s3://lake", "the path of the checkpoints is missing"),
        ("s3://lake/cp/{group}/{group}", "{group} is given twice"),
        ("s3://lake/cp/{topic}", "{topic} is not possible here"),
        ("s3://lake/cp/{*}/{group}", "{*} is not possible here"),
        ("s3://lake/cp/{x}", "unknown placeholder {x}"),
        ("s3://lake/cp/{group", "unbalanced brace"),
    ] {
        let error = parse(url).unwrap_err().to_string();
        assert!(error.contains(reason), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
