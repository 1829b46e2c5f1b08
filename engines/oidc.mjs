// An OpenID provider for tests, by the certified implementation `oidc-provider`: real discovery, keys, codes, tokens, sessions and logout. Only who
// signs in is not asked for a password: `login_hint` names the account. Settings come as JSON in the first argument:
//   port, audience, keys (private JWKs, the first signs), clients, accounts (account → claims of its access tokens)
// POST /rotate with other keys (JSON) changes them while it runs.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { port, audience, keys, clients, accounts } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

function build(jwks) {
  const provider = new Provider(issuer, {
    jwks: { keys: jwks },
    clients,
    cookies: { keys: ['of a test'] },
    // The clients that it tells of a logout are on this machine, which it would not call by itself.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    pkce: { required: () => true },
    scopes: ['openid', 'api'],
    ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = form;
        },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'api',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: jwks[0].alg } },
        }),
      },
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    async extraTokenClaims(ctx, token) {
      if (!token.accountId) return undefined;
      const session = await provider.Session.findByUid(token.sessionUid);
      return { ...accounts[token.accountId], sid: session?.sidFor(token.clientId) };
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    async loadExistingGrant(ctx) {
      const grant = new provider.Grant({ accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId });
      grant.addOIDCScope('openid api');
      grant.addResourceScope(audience, 'api');
      await grant.save();
      return grant;
    },
  });
  return provider;
}

let provider = build(keys);
let handle = provider.callback();

async function answer(request, response) {
  if (request.url.startsWith('/interaction/')) {
    const { params } = await provider.interactionDetails(request, response);
    await provider.interactionFinished(request, response, { login: { accountId: params.login_hint }, consent: {} });
  } else if (request.url === '/rotate' && request.method === 'POST') {
    let body = '';
    for await (const part of request) body += part;
    provider = build(JSON.parse(body));
    handle = provider.callback();
    response.end();
  } else {
    handle(request, response);
  }
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
}).listen(port, '127.0.0.1', () => console.log('ready'));
