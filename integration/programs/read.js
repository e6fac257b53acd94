// read.js WAY FILE...: reads files in one of many ways and says what it saw.
const fs = require('fs'), path = require('path'), crypto = require('crypto');
const out = process.env.O;
const say = (name, content, ...more) => console.log(name, content.length, crypto.createHash('sha256').update(content).digest('hex'), ...more);

const ways = {
  async readFileSync(name) {
    say(name, fs.readFileSync(name), fs.statSync(name).size, fs.statSync(name).mtime);
    console.log(fs.readFileSync(name, 'utf8'));
    say(name, await fs.promises.readFile(name));
  },
  async streams(name) {
    for (const options of [{}, {highWaterMark: 100}, {start: 3, end: 4099}]) {
      const parts = [];
      for await (const part of fs.createReadStream(name, options)) parts.push(part);
      say(name, Buffer.concat(parts), parts.length);
    }
  },
  async positions(name) {
    const fd = fs.openSync(name), buf = Buffer.alloc(5000);
    for (const position of [0, 4090, 6143, 10000]) {
      const n = fs.readSync(fd, buf, 0, 5000, position);
      say(name, buf.subarray(0, n), fs.fstatSync(fd).size);
    }
    fs.closeSync(fd);
  },
  async copyFile(name) {
    fs.copyFileSync(name, path.join(out, name));
    fs.copyFileSync(name, path.join(out, name + '.clone'), fs.constants.COPYFILE_FICLONE);
    await fs.promises.cp('sub', path.join(out, name + '.sub'), {recursive: true, preserveTimestamps: true});
  },
};

(async () => { for (const name of process.argv.slice(3)) await ways[process.argv[2]](name); })();
