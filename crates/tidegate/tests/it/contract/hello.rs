//! The route `hello-as-rest`: a gRPC server for those who speak REST.

use super::{
    super::transcode::{GrpcServer, ServerHow},
    *,
};

#[test]
fn rest_in_grpc_out() {
    let (behind, greeter) = (Behind::echoes(), GrpcServer::start(ServerHow::default()));
    let served = Served::changed(&behind, "", |text| {
        replaced(&text, "address: 127.0.0.1:7005", &format!("address: {}", greeter.address))
    });
    let answer = served.gateway.get("/v1/hello/Ada");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["message"], "Hello, Ada");
    assert_eq!(greeter.log(), ["/demo.Greeter/SayHello"]);
    assert_eq!(served.ask("POST /v1/hello/Ada", "").status, 405);
}
