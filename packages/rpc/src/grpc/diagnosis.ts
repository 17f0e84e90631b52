// Why a connection was not established, when TLS may be the reason. grpc-js tells of a failed connection in words only, and of a peer that speaks another protocol not
// even that; one handshake of our own, after the failure, says it in codes.
import { connect, type PeerCertificate } from "node:tls";
import { isIP } from "node:net";
import { messageOf } from "@tray/common";
import type { TlsFiles } from "./transport.js";

export interface Diagnosis {
  readonly message: string;
  readonly hint: string;
}

/** A peer that answers nothing for so long is judged no further. */
const diagnosisMaxMs = 2_000;

/** Undefined: nothing is wrong with TLS as far as one can see (nobody is there, or everything is fine by now). Never rejects. */
export function diagnoseTls(address: string, tls: TlsFiles | undefined): Promise<Diagnosis | undefined> {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, "$1");
  const port = Number(address.slice(at + 1));
  return new Promise((resolve) => {
    const finish = (diagnosis: Diagnosis | undefined): void => {
      socket.destroy();
      resolve(diagnosis);
    };
    const socket = connect({
      host,
      port,
      ALPNProtocols: ["h2"],
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(tls === undefined ? { rejectUnauthorized: false } : tls),
    });
    socket.setTimeout(diagnosisMaxMs, () => finish(undefined));
    socket.on("error", (error: NodeJS.ErrnoException & { cert?: PeerCertificate }) =>
      finish(tls === undefined ? undefined : judge(address, host, error)),
    );
    socket.on("close", () => resolve(undefined));
    // Without a certificate of ours the handshake alone tells; with one, the server judges ours only after it, and says something when it is content.
    if (tls === undefined) {
      socket.on("secureConnect", () =>
        finish({
          message: `${address} speaks TLS, and this side was given no certificates`,
          hint: "name the directory with ca.pem, cert.pem and key.pem: --tls-dir DIR, or TRAY_TLS_DIR (make one with: tray cert issue, on the head)",
        }),
      );
    } else socket.on("data", () => finish(undefined));
  });
}

function judge(address: string, host: string, error: NodeJS.ErrnoException & { cert?: PeerCertificate }): Diagnosis | undefined {
  const code = error.code ?? "";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return {
      message: `the certificate of ${address} is not for ${host}, but for ${error.cert?.subjectaltname ?? "other names"}`,
      hint: `reach it by a name that stands in its certificate, or make one that has this name: tray cert issue --host ${host}`,
    };
  }
  if (/ALERT/.test(code)) {
    return {
      message: `${address} does not accept our certificate: ${messageOf(error)}`,
      hint: "cert.pem must come from the authority of the cluster: make one on the head with: tray cert issue",
    };
  }
  if (code.startsWith("ERR_SSL_") || code === "EPROTO") {
    return {
      message: `${address} does not speak TLS, and this side was told to (--tls-dir, TRAY_TLS_DIR)`,
      hint: "start the cluster with the same --tls-dir, or leave it out here",
    };
  }
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    return { message: `the certificate of ${address} is not valid now: ${messageOf(error)}`, hint: "make a new one there with: tray cert issue" };
  }
  if (/CERT|SIGNATURE|ISSUER|CHAIN|CRL/.test(code)) {
    return {
      message: `the certificate of ${address} is not from the authority in our ca.pem: ${messageOf(error)}`,
      hint: "both sides need the same ca.pem: copy the TLS directory that `tray cert issue` made on the head of this cluster",
    };
  }
  return undefined;
}
