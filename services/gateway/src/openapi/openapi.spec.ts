import { readFileSync } from 'node:fs';
import { alertNoticeSchema } from '@casvault/contracts';
import { Validator } from '@seriousme/openapi-schema-validator';
import { routes } from '../api/table.js';
import { version } from '../version.js';
import { openApiOf } from './openapi.js';

const committed: unknown = JSON.parse(
  readFileSync(new URL('../../../../../docs/api/openapi.json', import.meta.url), 'utf8'),
);
const document = openApiOf(routes, version);

/** Every value under a key, wherever it stands. */
const valuesOf = (node: unknown, key: string): unknown[] => {
  if (typeof node !== 'object' || node === null) return [];
  const own = Object.entries(node).filter(([name]) => name === key);
  return [
    ...own.map(([, value]) => value as unknown),
    ...Object.values(node).flatMap((child) => valuesOf(child, key)),
  ];
};

describe('the OpenAPI document', () => {
  it('is the committed one (npm run openapi -w services/gateway)', () => {
    expect(committed).toEqual(JSON.parse(JSON.stringify(document)));
  });

  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    expect(await validator.validate(structuredClone(document))).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
    const broken = structuredClone(document);
    delete broken['info'];
    expect((await new Validator().validate(broken)).valid).toBe(false);
  });

  it('has every route, and refers to nothing that is not there', () => {
    const paths = document['paths'] as Record<string, Record<string, unknown>>;
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(operations.sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort());
    const references = new Set(valuesOf(document, '$ref') as string[]);
    for (const reference of references) {
      const target = reference
        .slice('#/'.length)
        .split('/')
        .reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key], document);
      expect([reference, target]).toEqual([reference, expect.any(Object)]);
    }
  });

  it('H3: describes what webhooks are sent, with an example that holds', () => {
    const { alertRaised } = document['webhooks'] as Record<string, unknown>;
    const [content] = valuesOf(alertRaised, 'application/json') as { schema: unknown; example: unknown }[];
    expect(content?.schema).toEqual({ $ref: '#/components/schemas/AlertNotice' });
    expect(alertNoticeSchema.parse(content?.example)).toEqual(content?.example);
  });

  it('shows no secret in a reply, sealed or not', () => {
    const { schemas } = document['components'] as { schemas: Record<string, unknown> };
    const replies = Object.entries(schemas).filter(([name]) => !name.endsWith('Body'));
    const fields = replies
      .flatMap(([, schema]) => valuesOf(schema, 'properties'))
      .flatMap((of) => Object.keys(of as object));
    expect(fields).toContain('accessKeyId');
    expect(fields).not.toContain('secretKey');
    expect(fields).not.toContain('password');
    expect(JSON.stringify(document)).not.toContain('sealed:v1');
  });

  it('marks every field with a secret in a request as such', () => {
    const { schemas } = document['components'] as { schemas: Record<string, unknown> };
    const bodies = Object.entries(schemas).filter(([name]) => name.endsWith('Body'));
    const secrets = bodies
      .flatMap(([, schema]) => valuesOf(schema, 'properties'))
      .flatMap((fields) => Object.entries(fields as Record<string, unknown>))
      .filter(([name]) => /password|token|secret/i.test(name));
    expect(secrets.length).toBeGreaterThanOrEqual(4);
    for (const [, schema] of secrets) expect(schema).toMatchObject({ writeOnly: true, format: 'password' });
  });
});
