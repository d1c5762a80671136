//! What is wrong with a route is told when it is loaded, with its place and the remedy.

use super::{super::harness::run, *};

fn told(settings: &str, upstream: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("greeter.binpb"), SET).expect("a file");
    fs::write(folder.path().join("odd.binpb"), "certainly not").expect("a file");
    let text = format!(
        "listeners: [{{name: public, address: 127.0.0.1:{}}}]
upstreams: [{{name: greeter, {upstream}endpoints: [{{address: 127.0.0.1:1}}]}}]
routes:
  - name: hello
    match: [{{path: {{template: \"/v1/hello/{{id}}\"}}}}]
    transcode: {{upstream: greeter, {settings}}}
",
        free_port()
    );
    let file = folder.path().join("tidegate.yaml");
    fs::write(&file, text).expect("a file");
    let (code, _, problems) = run(&["validate", "-c", &file.display().to_string()]);
    assert_eq!(code, 3, "{settings}: {problems}");
    problems.split_whitespace().filter(|word| *word != "\u{2502}").collect::<Vec<_>>().join(" ")
}

#[test]
fn what_does_not_fit_is_told() {
    let grpc = "protocol: grpc, ";
    for (settings, upstream, wants) in [
        ("descriptorSet: greeter.binpb", "", vec!["speaks HTTP/1.1", "protocol: grpc"]),
        ("method: a.B/C", grpc, vec!["descriptorSet", "reflection"]),
        ("descriptorSet: greeter.binpb, reflection: {}", grpc, vec!["at most one"]),
        ("descriptorSet: odd.binpb", grpc, vec!["no descriptor set", "--include_imports"]),
        ("descriptorSet: nowhere.binpb", grpc, vec!["nowhere.binpb"]),
        (
            "descriptorSet: greeter.binpb, method: demo.Greeter/SayBye",
            grpc,
            vec!["no method `SayBye`", "`SayHello`"],
        ),
        (
            "descriptorSet: greeter.binpb, method: demo.Greeter/SayHello",
            grpc,
            vec!["`{id}`", "demo.HelloRequest"],
        ),
        (
            "descriptorSet: greeter.binpb, services: [demo.Nobody]",
            grpc,
            vec!["no service `demo.Nobody`", "demo.Library"],
        ),
        ("descriptorSet: greeter.binpb, body: \"*\"", grpc, vec!["belongs to `method`"]),
        ("descriptorSet: greeter.binpb, protocols: []", grpc, vec!["at least one protocol"]),
        ("protocols: [rest]", grpc, vec!["not known without"]),
    ] {
        let problems = told(settings, upstream);
        for want in wants {
            assert!(problems.contains(want), "{settings}: {problems}");
        }
    }
}
