//! Secrets in texts, and what remains of the texts.

use crate::evidence::redact::{REDACTED, Redaction};

/// Each text marks its secrets with `«` and `»`.
fn check(texts: &[&str]) {
    let mut wrong = Vec::new();
    for marked in texts {
        let mut expected = String::new();
        let mut rest = *marked;
        while let Some((before, after)) = rest.split_once('«') {
            let (_, after) = after.split_once('»').unwrap();
            expected.push_str(before);
            expected.push_str(REDACTED);
            rest = after;
        }
        expected.push_str(rest);
        let text = marked.replace(['«', '»'], "");
        let shown = Redaction::default().text(&text).into_owned();
        let again = Redaction::default().text(&shown).into_owned();
        if (&shown, &again) != (&expected, &expected) {
            wrong.push(format!(
                "{text}\nwas shown as {shown}\nand then as  {again}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn passwords_and_tokens_in_urls_are_hidden_and_the_rest_of_the_url_stays() {
    check(&[
        "https://alice:«hunter2»@example.com/a?b=c",
        "postgres://app:«p@ss:w0rd»@db:5432/app",
        "postgres://app:«pa/ss#w?rd»@db:5432/app",
        "redis://:«hunter2»@cache",
        "see mongodb+srv://a:«b»@c.example and https://d:«e»@f.example.",
        "https://«0123456789abcdef0123456789abcdef»@o1.ingest.sentry.io/1",
        "https://x/y?api_key=«abc123»&page=2",
        "https://x/y?page=2&access_token=«abc123»#top",
        "https://x/cb#id_token=«abc»&state=1",
        "https://x/y?apikey=«a%2Fb»&X-Amz-Signature=«0123456789abcdef0123»",
        "https://maps.example/?key=«Ab0123456789abcdef»",
        "https://x/?next=https%3A%2F%2Fy%2F%3Ftoken%3D«abc»%26page%3D2",
        "https://hooks.slack.com/services/«T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX»",
        "https://discord.com/api/webhooks/«123456789/abcdefghijklmnop»",
        "https://api.telegram.org/bot123456789:«AAabcdefghijklmnopqrstuvwxyz0123456»/getMe",
        "root:«hunter2»@tcp(db:3306)/app",
    ]);
    check(&[
        "https://example.com:8443/@scope/package?page=2",
        "http://[::1]:8080/@a",
        "ssh://git@github.com/me/repo",
        "git@github.com:me/repo.git",
        "mailto:bob@example.com",
        "https://example.com/search?q=key+ring&code=7&sort_key=name&key=name",
        "docker run -u 1000:1000 x",
    ]);
}

#[test]
fn headers_variables_and_parameters_are_hidden_by_their_names() {
    check(&[
        "Authorization: «Bearer abc»",
        "X-Api-Key: «abc def»",
        "GET / HTTP/1.1\r\nCookie: «a=b; c=d»\r\nAccept: */*",
        r"GET /\r\nAuthorization: «Basic abc»\r\nAccept: */*",
        "curl -H 'Authorization: «Bearer abc»' https://x",
        r#"curl -H "X-Api-Key: «abc»" -d '{"password": "«x y»", "n": 1}'"#,
        r#"{\"password\":\"«a b»\",\"n\":1}"#,
        "curl -u alice:«hunter2» https://x",
        "curl --user=alice:«hunter2» https://x",
        "curl --user 'alice:«hunter 2»' x",
        "export API_KEY=«abc»; run",
        "DB_PASSWORD=«hunter2» ./serve --port 80",
        "a=1&password=«x»&b=2",
        "mysql --password «hunter2» --host db",
        "mysql --password=«hunter2» --host db",
        "tool --api-key '«a b»' --verbose",
        "Server=db;User Id=app;Password=«p,w»;Timeout=3",
        "host=db password='«hunter2»' user=x",
        "AccountName=x;AccountKey=«abc==»;EndpointSuffix=y",
        "password = \"«a \\\" b»\"\nname = \"x\"",
        "headers['X-Auth-Token'] = '«abc»'",
        "the API key: «abc», thanks",
        "send Authorization: «Bearer abc» with it",
        "with Cookie: «a=b; c=d»",
        "docker run -e \"PASS=«a b»\" -d 'password=«x»&a=b' image",
        "connect -Password «hunter2» -Verbose",
        r#"path = "C:\\", password = "«C:\\»", n = 1"#,
        "my pin code: «1234», ok",
        "session id: «abc»",
        "{user: bob, password: «x», age: 3}",
        "<login><Password>«a b»</Password><n>1</n></login>",
        "CREATE USER bob WITH PASSWORD '«hunter2»' VALID",
        r#"body: {"credentials": «{"a": "b", "c": ["d"]}», "n": 1}"#,
        "https://x/cb?code=«4/0AbCdEfGhIjKlMnOp»&scope=a",
    ]);
    check(&[
        "max_tokens: 512, next_page_token=abc",
        "the secretary: Bob",
        "WHERE key = 'x' AND author = 'bob'",
        "if (token != null) { x = token; }",
        "Usage: login <user> <password> [options]",
        "docker login --password-stdin registry.example.com",
        "ansible --ask-pass host",
        "12:30, a => b, C:\\temp\\pass, x::y, std::pin",
        "SELECT password::text; let hash = password::hash(x);",
        "a list -- of things - password",
        "tokenizer=fast&sort=asc",
        "a password policy",
        r#"{"password": null, "token": true}"#,
    ]);
}

#[test]
fn credentials_after_an_authentication_scheme_are_hidden() {
    check(&[
        "Bearer «abc»",
        "bearer «hunter2»",
        "BEARER «abc.def-ghi»",
        "send Bearer «abcdefghijklmnopqrstuvwx» with it",
        "send \"Bearer «abcdef»\" with it",
        "Basic «dXNlcjpwYXNz»",
        "try Basic «dXNlcjpwYXNzd29yZA==» here",
        "Token «9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b»",
        "ApiKey «abcdef123»",
        "Digest «username=\"bob\", response=\"6629fae49393a05397450978507c4ef1\"»",
        "Negotiate «YIIabcdefghijklmnop»",
        "x=Bearer%20«abc123def»&y",
    ]);
    check(&[
        "the bearer of bad news",
        "Bearer token",
        "bearer tokens are sent",
        "Basic usage",
        "basic tutorial 101",
        "a token economy",
        "the digest algorithm",
        "token 7 of 12",
    ]);
}

#[test]
fn private_pem_blocks_are_hidden_whole_or_cut() {
    check(&[
        "-----BEGIN RSA PRIVATE KEY-----«\nMIIE\nabc=\n»-----END RSA PRIVATE KEY-----\nmore",
        r"key: -----BEGIN PRIVATE KEY-----«\nMIIE\n»-----END PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----«\nb3BlbnNzaC1rZXk»",
        "-----BEGIN EC PRIVATE KEY",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----«\n\nlQ\n»-----END PGP PRIVATE KEY BLOCK-----",
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----«\nabc\n»---- END SSH2 ENCRYPTED PRIVATE KEY ----",
        "x.« MIIEabc=\n»-----END PRIVATE KEY-----",
    ]);
    check(&[
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
        "-------------------- a table --------------------",
        "a -- b --- c",
    ]);
}

#[test]
fn tokens_are_recognized_by_their_form() {
    check(&[
        "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln»",
        "(«eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0»)",
        "use «ghp_abcdefghijklmnopqrstuvwxyz0123456789».",
        "«github_pat_11ABCDEFG0abcdefghijkl_abcdefghijklmnop»",
        "«gho_abcdefghijklmnop0123» «ghs_abcdefghijklmnop0123»",
        "https://«ghp_abcdefghijklmnopqrstuvwxyz0123456789»@github.com/x",
        "«glpat-abcdefghij0123456789»",
        "«sk-abcdefghijklmnopqrstuvwx»",
        "«sk-proj-Abc1_Def2-Ghi3_Jkl4»",
        "«sk-ant-api03-abcdefghijklmnop-AA»",
        "«sk_live_abcdefgh12345678» «rk_test_abcdefgh12345678»",
        "«xoxb-123456789012-abcdef» «xapp-1-A0123456789-abc»",
        "id «AKIAIOSFODNN7EXAMPLE», «ASIAIOSFODNN7EXAMPLE»",
        "«AIzaSyA-abcdefghijklmnopqrstuvwxyz01234»",
        "«ya29.a0AfH6SMabcdefghijkl»",
        "«npm_abcdefghijklmnopqrstuvwxyz0123456789»",
        "«pypi-AgEIcHlwaS5vcmcCJGFiY2RlZg»",
        "«dop_v1_0123456789abcdef0123456789abcdef»",
        "«shpat_0123456789abcdef0123456789abcdef»",
        "«hf_abcdefghijklmnopqrstuvwxyzABCDEF»",
        "«SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz»",
        "«AGE-SECRET-KEY-1ABCDEFGHJKLMNPQRSTUVWXYZ023456789»",
        "«hvs.CAESIJabcdefghijklmnop»",
        "«glsa_abcdefghijklmnopqrst_0123abcd»",
        "«dckr_pat_abcdefghijklmnop0123»",
        "«key-0123456789abcdef0123456789abcdef»",
    ]);
    check(&[
        "sk-learn task-list risk-management-process disk_usage hf_hub npm_config_registry",
        "pypi-server SG.1 xoxo ghp_ AKIA AIza keyboard-shortcuts",
        "eyJ eyJpZCI6MTB9 report.eyJ.txt",
        "src/audit/redact.rs v1.2.3 2026-07-28 a_b_c d41d8cd98f00b204e9800998ecf8427e",
        "task-abcdefghijklmnopqrstuvwx mask_abcdefghijklmnopqrstuvwx",
        "commit 08aa7f3de1c44d1f9a0b08aa7f3de1c44d1f9a0b",
        "call_abcdefGHIJKL0123456789mnop toolu_01A09q90qw90lq917835lq9",
    ]);
}
