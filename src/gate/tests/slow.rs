//! A server that answers `initialize` slowly.

use std::time::Duration;

use serde_json::json;

use super::scene::Scene;

fn initializing() -> Scene {
    let mut scene = Scene::new();
    scene.client_says(&json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}},
    }));
    scene
}

fn answer(scene: &mut Scene) {
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 1, "result": result}));
}

#[test]
fn a_server_that_is_slow_to_answer_initialize_causes_one_warning() {
    let mut scene = initializing();
    scene.advance(Duration::from_millis(4_900));
    assert_eq!(scene.warnings, Vec::<String>::new());
    scene.advance(Duration::from_millis(200));
    scene.advance(Duration::from_secs(60));
    assert_eq!(
        scene.warnings,
        ["the server `db` has not answered `initialize` after 5 s; still waiting"]
    );
    answer(&mut scene);
    assert_eq!(scene.take_upstream()["method"], "initialize");
    assert_eq!(scene.take_client()["id"], 1);
}

#[test]
fn a_server_that_answers_in_time_causes_no_warning_and_no_timer() {
    let mut scene = initializing();
    assert!(scene.gate.poll_timeout().is_some());
    answer(&mut scene);
    assert_eq!(scene.gate.poll_timeout(), None);
    scene.advance(Duration::from_secs(60));
    assert_eq!(scene.warnings, Vec::<String>::new());
}
