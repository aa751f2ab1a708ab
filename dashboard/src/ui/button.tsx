import * as RadixTooltip from "@radix-ui/react-tooltip";
import type { ButtonHTMLAttributes, ReactElement, ReactNode, Ref } from "react";
import { Icon, type IconName } from "./icons";

const LOOKS = {
  primary:
    "bg-accent-strong text-white border-transparent hover:brightness-110 active:brightness-95",
  plain: "bg-panel text-ink border-line-strong hover:bg-hover",
  ghost: "border-transparent text-dim hover:bg-hover hover:text-ink",
  danger: "bg-panel border-red/50 text-red hover:bg-red/10",
  stop: "bg-panel border-amber/55 text-amber hover:bg-amber/10",
} as const;

export type ButtonLook = keyof typeof LOOKS;

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: ButtonLook;
  icon?: IconName;
  small?: boolean;
  busy?: boolean;
  keys?: string;
  ref?: Ref<HTMLButtonElement>;
}

export function Button({
  look = "plain",
  icon,
  small,
  busy,
  keys,
  className = "",
  children,
  disabled,
  ...rest
}: ButtonProps) {
  const size = small === true ? "h-7 px-2 text-xs" : "h-8 px-3 text-sm";
  return (
    <button
      type="button"
      disabled={disabled === true || busy === true}
      aria-busy={busy === true}
      className={`inline-flex select-none items-center justify-center gap-1.5 whitespace-nowrap rounded-[7px] border font-medium transition-colors disabled:opacity-50 ${LOOKS[look]} ${size} ${className}`}
      {...rest}
    >
      {busy === true ? <Spinner /> : icon !== undefined ? <Icon name={icon} size={14} /> : null}
      {children}
      {keys !== undefined ? <Kbd>{keys}</Kbd> : null}
    </button>
  );
}

interface IconButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  icon: IconName;
  label: string;
  keys?: string;
  look?: ButtonLook;
  ref?: Ref<HTMLButtonElement>;
}

export function IconButton({
  icon,
  label,
  keys,
  look = "ghost",
  className = "",
  ...rest
}: IconButtonProps) {
  return (
    <Tip text={label} {...(keys === undefined ? {} : { keys })}>
      <button
        type="button"
        aria-label={label}
        className={`inline-flex size-7 items-center justify-center rounded-[7px] border transition-colors disabled:opacity-40 ${LOOKS[look]} ${className}`}
        {...rest}
      >
        <Icon name={icon} size={15} />
      </button>
    </Tip>
  );
}

export function Tip({
  text,
  keys,
  children,
}: {
  text: ReactNode;
  keys?: string;
  children: ReactElement;
}) {
  return (
    <RadixTooltip.Root delayDuration={350}>
      <RadixTooltip.Trigger asChild>{children}</RadixTooltip.Trigger>
      <RadixTooltip.Portal>
        <RadixTooltip.Content
          sideOffset={5}
          collisionPadding={8}
          className="z-50 flex max-w-80 animate-appear items-center gap-2 rounded-md border border-line-strong bg-raised px-2 py-1 text-xs text-ink shadow-lg"
        >
          {text}
          {keys !== undefined ? <Kbd>{keys}</Kbd> : null}
        </RadixTooltip.Content>
      </RadixTooltip.Portal>
    </RadixTooltip.Root>
  );
}

export const TipProvider = RadixTooltip.Provider;

const APPLE = /Mac|iPhone|iPad/.test(navigator.platform);

/** A key. Where there is no keyboard it is not shown, unless keys are what is read about. */
export function Kbd({ children, always = false }: { children: string; always?: boolean }) {
  return (
    <kbd
      className={`rounded border border-current/25 px-1 font-sans text-[0.625rem] leading-4 ${always ? "" : "max-sm:hidden pointer-coarse:hidden"}`}
    >
      {APPLE ? children : children.replace("⌘", "Ctrl ")}
    </kbd>
  );
}

export function Spinner({ size = 13 }: { size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 12 12"
      aria-hidden="true"
      className="shrink-0 animate-turn"
    >
      <path
        d="M6 1.5A4.5 4.5 0 1 1 1.5 6"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.6"
        strokeLinecap="round"
      />
    </svg>
  );
}
