package main

const help = `kms-emulator serves the API of Alibaba Cloud KMS from a local file.

It is for development and tests ONLY: its keys lie unprotected in the state
file, and its certificate authority is named "TEST ONLY".

usage: kms-emulator --state FILE --ca-out FILE [flags]

  --state FILE    keys, aliases and the certificate authority; made when it
                  does not exist, survives restarts and crashes. It belongs to
                  one region
  --ca-out FILE   where to write the authority's certificate (PEM) for clients
  --listen ADDR   address of the API; port 0 picks one (default 127.0.0.1:8443)
  --region NAME   the region it plays (default cn-hangzhou)
  --san NAME      one more host name or IP address for its certificate; may be
                  repeated. 127.0.0.1, ::1, localhost,
                  kms.REGION.aliyuncs.com, location.aliyuncs.com and
                  location-readonly.aliyuncs.com are always there
  --admin ADDR    loopback address of the admin server, plain HTTP; port 0
                  picks one (default: no admin server)
  --qps N         cryptographic calls per second, all clients together; more
                  are answered 429 Rejected.Throttling (default 0: no limit)
  --blob-layout L layout of new ciphertext, current or 2019 (default current).
                  Decrypt takes both
  --generation N  of new keys, 1 or 3 (default 1). 3 is KMS 3.0: key ids are
                  key-…, of 25 and of 26 characters in turn (version ids of 36
                  and 37), and a key belongs to an instance. Keys of both live
                  in one state file
  --internet-access on|off
                  the switch of the console (default on). When off, keys of an
                  instance do no cryptography at --listen: they answer 400
                  UnsupportedOperation. The admin server turns it
  --instance-listen ADDR
                  address of an instance's own endpoint, for all keys of
                  instances and for no others; port 0 picks one (default: none)
  --instance-ca-out FILE
                  where to write the certificate of its own authority;
                  required then
  --instance-san NAME
                  one more name for its certificate, may be repeated.
                  127.0.0.1, ::1, localhost and
                  kst-hzz0emulator0example0.cryptoservice.kms.aliyuncs.com
                  are always there; the id is that of the instance to which
                  keys belong that name none
  --instance-image current|old
                  old answers cryptography with 400 MissingParameter, as images
                  before 3.0.0 do (default current)
  --help          this text

environment:
  ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET
                  the only permanent access key that it accepts; clients use
                  the same

output:
  admin http://ADDR      with --admin
  instance https://ADDR  with --instance-listen
  ready https://ADDR     last, when clients may connect

clients:
  RPC requests signed with HMAC-SHA1, by GET or POST, parameters in the query
  or a form; requests signed with ACS3-HMAC-SHA256. Answers are JSON, with
  Format=XML they are XML. What it does where the service documents nothing
  is said in the package documentation of kms/emulator. Actions of KMS that it
  does not have answer 400 Emulator.NotEmulated, and are named on standard
  error once; misspelt ones answer 404 InvalidApi.NotFound. It is also its
  region's Location service, as far as DescribeEndpoints for kms

admin:
  GET /stats      {"calls":{"Decrypt":5}}: requests that arrived, by action
  DELETE /stats   count from zero
  POST /sts       a temporary access key with a security token, as JSON:
                    {"AccessKeyId":"STS.…","AccessKeySecret":"…",
                     "SecurityToken":"…","Expiration":"2026-11-23T12:00:00Z"}
                  The body may say how long it lives, such as {"ttl":"2s"}
                  (default 1h, at most 12h), rounded up to whole seconds.
                  Later it is InvalidSecurityToken.Expired: a code of other
                  products, unverified for KMS. Ends with the server
  GET /internet-access
                  {"on":true}
  POST /internet-access
                  {"on":false} turns the switch of --internet-access
  POST /faults    one more fault, as JSON:
                    action            applies to this action (default: any)
                    count             so many times (default: until deleted)
                    delay             wait first, such as "300ms"
                    hang              true: do not answer
                    close             true: close the connection unanswered
                    tls               "cut": cut it inside a TLS record
                    raw, status       answer this body (status: default 200)
                    code, status,
                    message           answer this error; a documented code
                                      brings its own status and message
                    truncate          cut the answer's body after n bytes
                  close, tls, raw and code exclude each other; the first fault
                  posted that applies is the one that happens
  GET /faults     those left, and how many requests one holds now
  DELETE /faults  no more faults; held requests are answered normally

example:
  export ALIBABA_CLOUD_ACCESS_KEY_ID=test ALIBABA_CLOUD_ACCESS_KEY_SECRET=test
  kms-emulator --state kms.db --ca-out ca.pem --admin 127.0.0.1:8444 &
  curl -d '{"action":"Decrypt","status":429,"count":3}' http://127.0.0.1:8444/faults

exit status: 0 after SIGTERM or SIGINT, 1 failure, 2 usage.
`
