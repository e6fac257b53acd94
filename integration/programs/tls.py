"""tls.py: a handshake with key.pem and cert.pem on both sides."""
import socket, ssl, threading

server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain("cert.pem", "key.pem")
server.load_verify_locations("cert.pem")
server.verify_mode = ssl.CERT_REQUIRED
client = ssl.create_default_context(cafile="cert.pem")
client.load_cert_chain("cert.pem", "key.pem")
a, b = socket.socketpair()


def serve():
    with server.wrap_socket(a, server_side=True) as s:
        s.sendall(b"hello " + s.getpeercert()["subjectAltName"][0][1].encode())


t = threading.Thread(target=serve)
t.start()
with client.wrap_socket(b, server_hostname="localhost") as c:
    print(c.recv(100), c.getpeercert()["subject"])
t.join()
