import { Fault, type FaultCode } from '@casvault/contracts';
import { type z } from 'zod';

/** The parsed value; else a fault with `code` that names the field and the rule, not the value (it may be a secret). */
export const parsed = <T extends z.ZodType>(
  schema: T,
  value: unknown,
  code: FaultCode,
  what: string,
): z.output<T> => {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 5).map(({ path, message }) => {
    const field = path.join('.');
    return field === '' ? message : `${field}: ${message}`;
  });
  throw new Fault(code, `${what}: ${issues.join('; ')}`);
};
