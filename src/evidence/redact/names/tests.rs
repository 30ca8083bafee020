//! Names of secrets, and names that only look like them.

use super::*;

fn is_secret(name: &str) -> bool {
    judge(name) == Verdict::Secret
}

const SECRETS: &str = "password, dbPassword, db_password, DB-PASSWORD, dbpassword, PASSWD, pgpassword_file, pASSWORD, user \
    password, password1, passWord, pwd, PWD, user_pwd, pass, db_pass, smtpPass, pw, passphrase, \
    pass_phrase, passcode, client_secret, clientSecret, clientsecret, secret, SECRET_2, mysecret, token, \
    accessToken, access_token, accesstoken, slacktoken, x-auth-token, csrf-token, page_access_token, \
    apiKey, api_key, API_KEY, APIKEY, APIKey, X-API-Key, api key, apikey2, api.key, api%5Fkey, \
    access_key, AWS_ACCESS_KEY_ID, accessKeyId, AccountKey, SharedAccessKey, aws_secret_access_key, \
    privateKey, PRIVATE-KEY, ssh_private_key, signing_key, encryptionKey, Authorization, \
    Proxy-Authorization, authorization_code, auth, basic_auth, _auth, _authToken, x-auth, auth_header, \
    oauth_token, bearer, bearer_token, jwt, id_jwt, dsn, SENTRY_DSN, connectionString, \
    connection_string, ConnStr, conn_str, cookie, Set-Cookie, cookies, session_cookie, sessionId, \
    session_id, SESSIONID, sid, connect.sid, PHPSESSID, JSESSIONID, session_token, sessionKey, \
    credentials, creds, google_credentials_json, otp, totp_code, mfa_code, 2fa, otpCode, pin, cardPin, \
    PINCode, pin_code, verification_code, recovery_codes, backupCodes, seed_phrase, mnemonic, psk, \
    xsrf_token, cvv, security_answer, github_pat, client_assertion, tokenSecret";

const PLAIN: &str = ", path, query, name, value, id, key, keys, public_key, primaryKey, sort_key, cache_key, keyboard, \
    monkey, keyword, max_tokens, maxTokens, MAX_TOKENS, maxtokens, max_new_tokens, prompt_tokens, \
    total_tokens, token_count, tokenCount, tokens_used, token_limit, budget_tokens, tokens_per_second, \
    nextPageToken, next_page_token, pageToken, nextpagetoken, page_token, continuationToken, \
    continuation_token, nextToken, syncToken, cursor, stop_token, tokenizer, tokenize, token_type, \
    tokenType, token_url, secretary, secretariat, app_secretary, passenger, passengers, compass, bypass, \
    passed, passive, pass_count, first_pass, boarding_pass, author, authors, authored_by, authority, \
    authenticated, auth_url, auth_method, authType, authorization_endpoint, pinned, pin_count, mapping, \
    spin, opinion, pineapple, gpio_pin, ping, sidebar, side, message_sid, session, session_length, \
    process_id, user_id, code, status_code, zipCode, exitcode, postcode, connection, string, \
    password_length, passwordPolicy, secret_type, password-stdin, cookie_size, metadata, phone_number, \
    hash, git_hash, content, accredited, description, access_keyboard, session_ideas, obsession_idea, \
    assignment, dsname, jwtish, hotpot, dispatch";

/// The names as a lenient reader may see them.
const LENIENT: [&str; 3] = [
    "\u{ff50}assword",
    "pass\u{200b}word",
    "PA\u{17f}\u{17f}WORD",
];

#[test]
fn names_of_secrets_are_recognized_in_any_case_style() {
    for name in SECRETS.split(',').map(str::trim).chain(LENIENT) {
        assert!(is_secret(name), "{name}");
    }
}

#[test]
fn names_that_only_look_like_secrets_are_not_secret() {
    for name in PLAIN.split(',').map(str::trim) {
        assert_eq!(judge(name), Verdict::Plain, "{name}");
    }
}

#[test]
fn tokens_are_secret_unless_they_are_counted() {
    for name in ["tokens", "refreshTokens", "user_tokens", "mytokens"] {
        assert_eq!(judge(name), Verdict::SecretUnlessNumber, "{name}");
    }
}

#[test]
fn very_long_names_count_at_both_ends() {
    for long in [
        format!("password{}", "x".repeat(1_000)),
        format!("{}password", "x".repeat(1_000)),
        format!("{}_api_key", "a_".repeat(1_000)),
        format!("{}_api_key", "\u{e9}".repeat(1_000)),
    ] {
        assert!(is_secret(&long), "{long}");
    }
    assert_eq!(judge(&"a_".repeat(1_000)), Verdict::Plain);
}

#[test]
fn words_are_found_whole_in_any_case_style() {
    for name in [
        "employeeId",
        "EMPLOYEE_ID",
        "employee-id",
        "employeeid",
        "new_employee_id",
        "employeeId2",
    ] {
        assert!(has_words(name, "employeeId"), "{name}");
    }
    for name in [
        "employee",
        "id",
        "employee_idea",
        "unemployeeid",
        "employee_x_id",
    ] {
        assert!(!has_words(name, "employeeId"), "{name}");
    }
    assert!(has_words("Contrase\u{d1}a", "contrase\u{f1}a"));
    assert!(!has_words("anything", "--"));
}

#[test]
fn the_quick_check_misses_no_word_of_a_secret() {
    for (word, kind) in WORDS.iter().filter(|(_, kind)| *kind != Kind::End) {
        assert!(is_suspicious(word.to_uppercase().as_bytes()), "{word}");
        let name = if *kind == Kind::Sid {
            (*word).to_owned()
        } else {
            format!("my_{word}")
        };
        assert_ne!(judge(&name), Verdict::Plain, "{name}");
    }
    for (ends, heads) in PAIRS {
        for end in *ends {
            for head in *heads {
                let two = format!("my_{head}_{end}");
                assert_eq!(judge(&two), Verdict::Secret, "{two}");
                // Two letters inside a word prove nothing.
                let one = format!("{head}{end}");
                assert!(*head == "pw" || judge(&one) == Verdict::Secret, "{one}");
            }
        }
    }
    for word in ANYWHERE {
        assert_eq!(judge(&format!("x{word}x")), Verdict::Secret, "{word}");
    }
}
