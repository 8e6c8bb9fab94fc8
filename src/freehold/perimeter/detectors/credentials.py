"""Credentials: what a secret of each issuer looks like, and secrets that stand behind their label.

Sources: each issuer's own documentation of its formats; checked 2026-11-24.
"""

from __future__ import annotations

import re

from freehold.perimeter.detectors.rules import Check, Rule

# name, fixed beginning, what follows
_W, _X = r"[A-Za-z0-9_-]", r"[A-Za-z0-9]"
_SECRETS = rf"""
openai            sk-proj-            {_W}{{20,}}
openai            sk-svcacct-         {_W}{{20,}}
openai            sk-admin-           {_W}{{20,}}
openai            sk-                 {_X}{{20,}}
anthropic         sk-ant-             {_W}{{20,}}
openrouter        sk-or-              {_W}{{20,}}
groq              gsk_                {_X}{{32,64}}
google_api        AIza                {_W}{{35}}
google_oauth      ya29.               {_W}{{20,300}}
google_client     GOCSPX-             {_W}{{28}}
aws_key_id        AKIA                [A-Z2-7]{{16}}
aws_key_id        ASIA                [A-Z2-7]{{16}}
aws_bedrock       ABSK                [A-Za-z0-9+/]{{40,200}}={{0,2}}
github            ghp_                {_X}{{36}}
github            gho_                {_X}{{36}}
github            ghu_                {_X}{{36}}
github            ghs_                {_X}{{36,255}}
github            ghr_                {_X}{{36}}
github            github_pat_         [A-Za-z0-9_]{{40,90}}
gitlab            glpat-              [A-Za-z0-9_.-]{{20,60}}
gitlab            glrt-               {_W}{{20,60}}
gitlab            gldt-               {_W}{{20,60}}
gitlab            glptt-              {_W}{{20,60}}
slack             xoxb-               [A-Za-z0-9-]{{20,120}}
slack             xoxp-               [A-Za-z0-9-]{{20,120}}
slack             xoxa-               [A-Za-z0-9-]{{20,120}}
slack             xoxe.               [A-Za-z0-9.-]{{20,200}}
slack             xapp-               [A-Za-z0-9-]{{20,120}}
slack_hook        hooks.slack.com/services/ [A-Za-z0-9/]{{20,80}}
discord_hook      discord.com/api/webhooks/ [0-9]{{15,22}}/{_W}{{40,100}}
stripe            sk_live_            {_X}{{16,120}}
stripe            sk_test_            {_X}{{16,120}}
stripe            rk_live_            {_X}{{16,120}}
stripe_hook       whsec_              [A-Za-z0-9+/=]{{24,80}}
sendgrid          SG.                 {_W}{{16,32}}\.{_W}{{32,64}}
mailgun           key-                [0-9a-f]{{32}}
npm               npm_                {_X}{{36}}
pypi              pypi-AgEIcHlwaS     {_W}{{40,250}}
docker            dckr_pat_           {_W}{{24,40}}
huggingface       hf_                 {_X}{{30,60}}
replicate         r8_                 {_X}{{32,40}}
databricks        dapi                [0-9a-f]{{32}}(?:-[0-9])?
digitalocean      dop_v1_             [0-9a-f]{{64}}
digitalocean      doo_v1_             [0-9a-f]{{64}}
shopify           shpat_              [0-9a-fA-F]{{32}}
shopify           shpss_              [0-9a-fA-F]{{32}}
shopify           shpca_              [0-9a-fA-F]{{32}}
square            sq0atp-             {_W}{{22,60}}
square            sq0csp-             {_W}{{22,60}}
meta              EAAC                {_X}{{60,300}}
twitter           AAAAAAAAAAAAAAAAAAAAA [A-Za-z0-9%]{{50,120}}
linear            lin_api_            {_X}{{32,48}}
notion            ntn_                {_X}{{40,60}}
airtable          pat                 {_X}{{14}}\.[0-9a-f]{{64}}
atlassian         ATATT3x             [A-Za-z0-9_=-]{{60,250}}
bitbucket         ATBB                {_X}{{28,40}}
postman           PMAK-               [0-9a-f]{{24}}-[0-9a-f]{{34}}
newrelic          NRAK-               [A-Z0-9]{{27}}
sentry            sntrys_             [A-Za-z0-9_+/=-]{{40,300}}
grafana           glsa_               {_X}{{32}}_[0-9a-fA-F]{{8}}
grafana           glc_                [A-Za-z0-9+/=]{{32,400}}
vault             hvs.                {_W}{{20,200}}
vault             hvb.                {_W}{{60,300}}
doppler           dp.pt.              {_X}{{40,44}}
planetscale       pscale_tkn_         [A-Za-z0-9_.=-]{{32,64}}
planetscale       pscale_pw_          [A-Za-z0-9_.=-]{{32,64}}
supabase          sbp_                [0-9a-f]{{40}}
netlify           nfp_                {_X}{{36,44}}
flyio             fo1_                {_W}{{40,50}}
rubygems          rubygems_           [0-9a-f]{{48}}
nuget             oy2                 [a-z0-9]{{43}}
clojars           CLOJARS_            [0-9a-z]{{60}}
age               AGE-SECRET-KEY-1    [A-Z0-9]{{58}}
freehold          fh-                 [0-9a-hjkmnp-tv-z]{{32}}
perplexity        pplx-               {_X}{{32,64}}
xai               xai-                {_X}{{60,100}}
fireworks         fw_                 {_X}{{22,32}}
cerebras          csk-                [a-z0-9]{{40,60}}
nvidia            nvapi-              {_W}{{60,80}}
pinecone          pcsk_               {_W}{{40,100}}
langsmith         lsv2_               (?:pt|sk)_[0-9a-f]{{32}}_[0-9a-f]{{8,10}}
figma             figd_               {_W}{{36,60}}
contentful        CFPAT-              {_W}{{40,50}}
flutterwave       FLWSECK             _?(?:TEST)?-[0-9a-zA-Z]{{12,40}}
razorpay          rzp_live_           {_X}{{14,30}}
shippo            shippo_live_        [0-9a-f]{{40}}
pulumi            pul-                [0-9a-f]{{40}}
prefect           pnu_                {_X}{{36}}
onepassword       ops_eyJ             [A-Za-z0-9+/=_-]{{100,1500}}
alibaba           LTAI                {_X}{{16,24}}
jwt               eyJ                 {_W}{{10,}}\.eyJ{_W}{{10,}}\.{_W}{{10,}}
"""


def _secret(line: str) -> Rule:
    name, begins, follows = line.split()
    head = re.escape(begins.encode())
    whole = re.compile(head + follows.encode() + rb"(?![A-Za-z0-9])")
    return Rule(
        f"secret.{name}",
        "secret." + ("token" if name == "jwt" else "key"),
        rb"[^A-Za-z0-9]" + head,
        whole,
        0.98,
        skip=1,
    )


def _is_mixed(text: str) -> bool:
    """Letters and digits both, not one character over and over: a made secret, not a word or a placeholder."""
    kinds = (any(c.isdigit() for c in text), any(c.isalpha() for c in text))
    return all(kinds) and len(set(text)) >= 8


_IS_STAND_IN = re.compile(
    r"\[[a-z]+(?:_[a-z]*\]?)?\Z"
).match  # what stands where something was taken out: `[secret`, `[name_kxqzvb]`
_IS_CODE = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.]*[(\[]|\$\{|%[(s]|\{\{|[a-z]+(?:[_.][a-z]+)+[)\]},;:]*\Z"
).match  # a call, an index, a variable


def _is_password(text: str) -> bool:
    text = text.rstrip(".,;:!?")
    if _IS_STAND_IN(text) or _IS_CODE(text):
        return False
    return len(set(text)) >= 4 and text.lower() not in _NO_PASSWORDS and not re.fullmatch(r"[A-Za-z]+|[0-9]{1,3}", text)


_NO_PASSWORDS = frozenset(
    (
        "password",
        "changeme",
        "required",
        "optional",
        "example",
        "undefined",
        "redacted",
        "secret",
        "pass",
        "passwd",
        "xxxxxxxx",
        "********",
    )
)
_ASSIGNED = rb"[\"']?(?:[ \t]{0,3}(?:[:=]|=>)[ \t\n]{0,3}|[ \t]{1,3}(?:is|ist|lautet|es|est)[ \t\n:]{1,3})[\"']?"


def _assigned(name: str, label: str, value: str, check: Check, before: bytes = b"") -> list[Rule]:
    """A value that stands behind its label: `api_key = …`. before: what may not stand in front."""
    pattern = re.compile(rb"(?i)" + before + label.encode("latin-1") + _ASSIGNED + rb"(?P<v>" + value.encode() + rb")")
    return [
        Rule(f"secret.{name}", "secret.key", rb"(?i)" + one.encode("latin-1"), pattern, 0.9, check)
        for one in label.removeprefix("(?:").removesuffix(")").split("|")
    ]


_PEM = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[^-]{1,16384}-----END [A-Z0-9 ]{1,50}-----)?"
)
_NAMED = (
    Rule("secret.pem", "secret.private_key", rb"-----BEGIN ", _PEM, 0.99),
    Rule(
        "secret.url_password",
        "secret.password",
        rb"://[A-Za-z0-9]",
        re.compile(rb"://[A-Za-z0-9._%+-]{1,64}:(?P<v>[^ \t\n\"'<>/@]{3,128})@[A-Za-z0-9.-]"),
        0.95,
        lambda text: not _IS_STAND_IN(text) and not _IS_CODE(text) and text.lower() not in _NO_PASSWORDS,
    ),
    Rule(
        "secret.bearer",
        "secret.token",
        rb"(?i)bearer [A-Za-z0-9]",
        re.compile(rb"(?i)bearer (?P<v>[A-Za-z0-9._~+/-]{20,4000}=*)"),
        0.85,
        _is_mixed,
    ),
    Rule(
        "secret.basic_auth",
        "secret.password",
        rb"(?i)authorization",
        re.compile(rb"(?i)authorization[\"']?[ :=]{1,3}[\"']?basic (?P<v>[A-Za-z0-9+/]{8,400}={0,2})"),
        0.9,
    ),
    Rule(
        "secret.azure_storage",
        "secret.key",
        rb"(?i)AccountKey=",
        re.compile(rb"(?i)AccountKey=(?P<v>[A-Za-z0-9+/]{86}==)"),
        0.98,
    ),
    Rule(
        "secret.azure_sas",
        "secret.token",
        rb"[?&]sig=[A-Za-z0-9]",
        re.compile(rb"[?&]sig=(?P<v>[A-Za-z0-9%+/]{40,100}=?)"),
        0.9,
    ),
    Rule(
        "secret.azure_client",
        "secret.key",
        rb"[0-9]Q~[A-Za-z0-9_~.-]",
        re.compile(rb"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),
        0.97,
        back=re.compile(rb"[A-Za-z0-9_~.-]{4}\Z"),
    ),
    Rule(
        "secret.telegram",
        "secret.key",
        rb"[0-9]:AA[A-Za-z0-9_-]",
        re.compile(rb"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9])"),
        0.97,
        back=re.compile(rb"[0-9]{8,10}\Z"),
    ),
    Rule(
        "secret.mailchimp",
        "secret.key",
        rb"[0-9a-f]-us[0-9]",
        re.compile(rb"[0-9a-f]{32}-us[0-9]{1,2}(?![A-Za-z0-9])"),
        0.97,
        back=re.compile(rb"[0-9a-f]{32}\Z"),
    ),
    Rule(
        "secret.twilio",
        "secret.key",
        rb"[^A-Za-z0-9](?:SK|AC)[0-9a-f]{8}",
        re.compile(rb"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9])"),
        0.95,
        skip=1,
    ),
    Rule(
        "secret.discord",
        "secret.key",
        rb"[^A-Za-z0-9_-][MNO][A-Za-z0-9_-]{22}",
        re.compile(rb"[MNO][A-Za-z0-9_-]{22,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}(?![A-Za-z0-9_-])"),
        0.95,
        skip=1,
    ),
    Rule(
        "secret.atlas",
        "secret.key",
        rb"\.atlasv1\.",
        re.compile(rb"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}"),
        0.98,
        back=re.compile(rb"[A-Za-z0-9]{14}\Z"),
    ),
    *_assigned(
        "assigned",
        "(?:api_key|apikey|api-key|api key|secret_key|secretkey|secret key|client_secret|access_token|auth_token|access_key|private_key|secret_access_key|secretaccesskey|accesskey|privatekey|accesstoken|authtoken|clientsecret|signing_key|encryption_key)",
        r"[A-Za-z0-9_~.+/=-]{16,200}",
        _is_mixed,
    ),
    *_assigned(
        "labelled",
        "(?:token|secret)",
        r"[A-Za-z0-9_~.+/=-]{16,200}",
        _is_mixed,
        rb"(?<![A-Za-z-])(?<!(?-i:[a-z]_))",  # GITHUB_TOKEN, not page_token
    ),
    *_assigned(
        "password",
        "(?:password|passwort|passwd|contraseña|mot de passe|kennwort|passphrase|pwd)",
        r"[^ \t\n\"'<>,;]{6,64}",
        _is_password,
    ),
)

CREDENTIALS = (*(_secret(line) for line in _SECRETS.split("\n") if line.strip()), *_NAMED)
