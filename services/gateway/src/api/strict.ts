import { z } from 'zod';

type Def = z.core.$ZodTypeDef & Record<string, unknown>;

const mapped = (def: Def): Partial<Def> => {
  switch (def.type) {
    case 'object': {
      const shape = Object.entries(def['shape'] as Record<string, z.ZodType>);
      return {
        shape: Object.fromEntries(shape.map(([name, field]) => [name, strict(field)])),
        catchall: z.never(),
      };
    }
    case 'array':
      return { element: strict(def['element'] as z.ZodType) };
    case 'union':
      return { options: (def['options'] as z.ZodType[]).map((option) => strict(option)) };
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
      return { innerType: strict(def['innerType'] as z.ZodType) };
    default:
      return {};
  }
};

/**
 * The same schema, with every object in it closed: fields that it does not know are errors. Messages between services are read
 * loosely, so that a newer sender does not break an older receiver; people's requests are not, so that a misspelt option is told.
 */
export const strict = <S extends z.ZodType>(schema: S): S => {
  const def = schema.def as unknown as Def;
  const changes = mapped(def);
  if (Object.keys(changes).length === 0) return schema;
  const closed = schema.clone({ ...def, ...changes });
  const told = schema.meta();
  return told === undefined ? closed : closed.meta(told);
};
