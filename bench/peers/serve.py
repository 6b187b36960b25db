"""A server of LibreTranslate's kind on CTranslate2, for bench/serve.py: one call of translate_batch per request, a thread per
connection, HTTP/1.1 with keep-alive.

    bench/peers/serve.py DIR SPM SOURCE_TAG TARGET_TAG THREADS BEAM

DIR: what ct2-transformers-converter wrote; SPM: the model's SentencePiece model.
"""
import http.server
import json
import sys

import ctranslate2
import sentencepiece

folder, spm, source, target, threads, beam = sys.argv[1:]
pieces = sentencepiece.SentencePieceProcessor(model_file=spm)
translator = ctranslate2.Translator(folder, device="cpu", inter_threads=1, intra_threads=int(threads))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["q"]
        tokens = [source, *pieces.encode(text, out_type=str), "</s>"]
        best = translator.translate_batch([tokens], target_prefix=[[target]], beam_size=int(beam))[0].hypotheses[0]
        body = json.dumps({"translatedText": pieces.decode(best[1:])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 4096


server = Server(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_address[1]}", file=sys.stderr, flush=True)
server.serve_forever()
