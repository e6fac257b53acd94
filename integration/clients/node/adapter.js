'use strict';

// The adapter's end of the line: see the package documentation of clients.

const {
  KMS_ENDPOINT: endpoint,
  KMS_ACCESS_KEY_ID: accessKeyId,
  KMS_ACCESS_KEY_SECRET: accessKeySecret,
  KMS_SECURITY_TOKEN: securityToken,
} = process.env;

exports.target = { endpoint, accessKeyId, accessKeySecret, securityToken };

// ascii escapes what is not, so that no line end hides in the text.
const ascii = (s) => s.replace(/[^\x20-\x7e]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));

// serve performs calls one after the other until the input ends. An error
// without a code is none of the service's: it ends the program.
exports.serve = async (call, refusal) => {
  let rest = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const { action, params } = JSON.parse(line);
      let out;
      try {
        out = { answer: await call(action, params) };
      } catch (err) {
        if (!err.code) throw err;
        out = { refusal: refusal(err) };
      }
      process.stdout.write(ascii(JSON.stringify(out)) + '\n');
    }
  }
};
