// tls.js: a request over TLS with key.pem and cert.pem.
const fs = require('fs'), https = require('https'), path = require('path');
const key = fs.readFileSync('key.pem'), cert = fs.readFileSync('cert.pem');
const socketPath = path.join(process.env.O, 's');
const server = https.createServer({key, cert}, (_, answer) => fs.createReadStream('longest').pipe(answer));
server.listen(socketPath, () => {
  https.get({socketPath, host: 'localhost', servername: 'localhost', ca: cert, agent: false}, answer => {
    console.log(answer.socket.authorized, answer.socket.getPeerCertificate().subject);
    answer.on('data', data => process.stdout.write(data)).on('end', () => server.close());
  });
});
